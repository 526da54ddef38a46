import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.SignatureException;
import java.security.spec.X509EncodedKeySpec;
import java.time.Instant;
import java.util.Base64;
import java.util.Map;

public class WebhookVerifier {
    private static final String KEY = "whpk_KEY"; // the public key: it is no secret
    private static final String SPKI = "MCowBQYDK2VwAyEA"; // what precedes the bytes of an ed25519 key in DER
    private static final long TOLERANCE = 300; // seconds
    private static final int MAX_SIGNATURES = 10; // each costs a look at the whole body

    /** Takes the body as it arrived, before it is parsed, and headers with names in lower case. Needs Java 15. */
    public static boolean isGenuine(Map<String, String> headers, byte[] body) throws GeneralSecurityException {
        String sentAt = headers.getOrDefault("webhook-timestamp", "");
        if (!sentAt.matches("[0-9]{1,12}")
                || Math.abs(Instant.now().getEpochSecond() - Long.parseLong(sentAt)) > TOLERANCE) {
            return false;
        }
        byte[] der = Base64.getDecoder().decode(SPKI + KEY.substring("whpk_".length()));
        PublicKey key = KeyFactory.getInstance("Ed25519").generatePublic(new X509EncodedKeySpec(der));
        for (String one : headers.getOrDefault("webhook-signature", "").split(" ", MAX_SIGNATURES)) {
            if (!one.startsWith("v1a,")) {
                continue;
            }
            Signature verifier = Signature.getInstance("Ed25519");
            verifier.initVerify(key);
            verifier.update((headers.get("webhook-id") + "." + sentAt + ".").getBytes(StandardCharsets.UTF_8));
            verifier.update(body);
            try {
                if (verifier.verify(Base64.getDecoder().decode(one.substring("v1a,".length())))) {
                    return true;
                }
            } catch (SignatureException | IllegalArgumentException malformed) {
                continue;
            }
        }
        return false;
    }
}
