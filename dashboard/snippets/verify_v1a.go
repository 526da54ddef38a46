package webhooks

import (
	"crypto/ed25519"
	"encoding/base64"
	"strconv"
	"strings"
	"time"
)

const (
	key       = "whpk_KEY" // the public key: it is no secret
	tolerance = 300        // seconds

	maxSignatures = 10 // each costs a look at the whole body
)

// IsGenuine takes `request.Header.Get`, and the body as it arrived, before it is parsed.
func IsGenuine(header func(string) string, body []byte) bool {
	sentAt, err := strconv.ParseInt(header("webhook-timestamp"), 10, 64)
	if age := time.Now().Unix() - sentAt; err != nil || age > tolerance || age < -tolerance {
		return false
	}
	public, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(key, "whpk_"))
	if err != nil || len(public) != ed25519.PublicKeySize {
		return false
	}
	content := append([]byte(header("webhook-id")+"."+header("webhook-timestamp")+"."), body...)
	for _, one := range strings.SplitN(header("webhook-signature"), " ", maxSignatures) {
		version, encoded, _ := strings.Cut(one, ",")
		signature, err := base64.StdEncoding.DecodeString(encoded)
		if version == "v1a" && err == nil && ed25519.Verify(public, content, signature) {
			return true
		}
	}
	return false
}
