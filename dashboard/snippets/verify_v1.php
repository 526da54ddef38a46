<?php

const KEY = 'whsec_KEY';
const TOLERANCE = 300; // seconds

/** Takes file_get_contents('php://input') as it arrived, and headers with names in lower case. */
function is_genuine(array $headers, string $body): bool
{
    $sentAt = $headers['webhook-timestamp'] ?? '';
    if (!preg_match('/^[0-9]{1,12}$/D', $sentAt) || abs(time() - (int) $sentAt) > TOLERANCE) {
        return false;
    }
    $key = base64_decode(substr(KEY, strlen('whsec_')));
    $content = ($headers['webhook-id'] ?? '') . '.' . $sentAt . '.' . $body;
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', $content, $key, true));
    foreach (explode(' ', $headers['webhook-signature'] ?? '') as $signature) {
        if (hash_equals($expected, $signature)) {
            return true;
        }
    }
    return false;
}
