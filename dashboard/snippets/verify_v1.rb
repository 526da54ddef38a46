require "openssl"

KEY = "whsec_KEY"
TOLERANCE = 300 # seconds

# Takes the body as it arrived, before it is parsed, and headers with names in lower case.
def genuine?(headers, body)
  sent_at = headers["webhook-timestamp"].to_s
  return false unless sent_at.match?(/\A[0-9]{1,12}\z/) && (Time.now.to_i - sent_at.to_i).abs <= TOLERANCE

  key = KEY.delete_prefix("whsec_").unpack1("m")
  content = "#{headers["webhook-id"]}.#{sent_at}.".b + body.b
  expected = "v1," + [OpenSSL::HMAC.digest("SHA256", key, content)].pack("m0")
  headers["webhook-signature"].to_s.split(" ").any? { |signature| OpenSSL.secure_compare(expected, signature) }
end
