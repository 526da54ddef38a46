package webhooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"
)

const (
	key       = "whsec_KEY"
	tolerance = 300 // seconds
)

// IsGenuine takes `request.Header.Get`, and the body as it arrived, before it is parsed.
func IsGenuine(header func(string) string, body []byte) bool {
	sentAt, err := strconv.ParseInt(header("webhook-timestamp"), 10, 64)
	if age := time.Now().Unix() - sentAt; err != nil || age > tolerance || age < -tolerance {
		return false
	}
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(key, "whsec_"))
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(header("webhook-id") + "." + header("webhook-timestamp") + "."))
	mac.Write(body)
	expected := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, signature := range strings.Split(header("webhook-signature"), " ") {
		if hmac.Equal([]byte(expected), []byte(signature)) {
			return true
		}
	}
	return false
}
