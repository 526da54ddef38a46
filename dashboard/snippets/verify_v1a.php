<?php

const KEY = 'whpk_KEY'; // the public key: it is no secret
const TOLERANCE = 300; // seconds
const MAX_SIGNATURES = 10; // each costs a look at the whole body

/** Takes file_get_contents('php://input') as it arrived, and headers with names in lower case. */
function is_genuine(array $headers, string $body): bool
{
    $sentAt = $headers['webhook-timestamp'] ?? '';
    if (!preg_match('/^[0-9]{1,12}$/D', $sentAt) || abs(time() - (int) $sentAt) > TOLERANCE) {
        return false;
    }
    $key = base64_decode(substr(KEY, strlen('whpk_')));
    $content = ($headers['webhook-id'] ?? '') . '.' . $sentAt . '.' . $body;
    foreach (explode(' ', $headers['webhook-signature'] ?? '', MAX_SIGNATURES) as $one) {
        [$version, $encoded] = explode(',', $one, 2) + ['', ''];
        $signature = (string) base64_decode($encoded, true);
        $isWhole = strlen($signature) === SODIUM_CRYPTO_SIGN_BYTES;
        if ($version === 'v1a' && $isWhole && sodium_crypto_sign_verify_detached($signature, $content, $key)) {
            return true;
        }
    }
    return false;
}
