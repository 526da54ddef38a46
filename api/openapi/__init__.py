"""The OpenAPI document: descriptions, examples, and the requests that Hookkeeper sends."""
