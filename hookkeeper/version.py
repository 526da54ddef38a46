"""The version: spelled here, read by the build and by whoever says who we are."""

VERSION = "0.1.0"
