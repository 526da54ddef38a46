require "openssl"

KEY = "whpk_KEY" # the public key: it is no secret
SPKI = "MCowBQYDK2VwAyEA" # what precedes the bytes of an ed25519 key in DER
TOLERANCE = 300 # seconds
MAX_SIGNATURES = 10 # each costs a look at the whole body

# Takes the body as it arrived, before it is parsed, and headers with names in lower case.
def genuine?(headers, body)
  sent_at = headers["webhook-timestamp"].to_s
  return false unless sent_at.match?(/\A[0-9]{1,12}\z/) && (Time.now.to_i - sent_at.to_i).abs <= TOLERANCE

  key = OpenSSL::PKey.read((SPKI + KEY.delete_prefix("whpk_")).unpack1("m"))
  content = "#{headers["webhook-id"]}.#{sent_at}.".b + body.b
  headers["webhook-signature"].to_s.split(" ", MAX_SIGNATURES).any? do |one|
    version, signature = one.split(",", 2)
    version == "v1a" && key.verify(nil, signature.to_s.unpack1("m"), content)
  rescue OpenSSL::PKey::PKeyError
    false
  end
end
