import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.Base64;
import java.util.Map;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class WebhookVerifier {
    private static final String KEY = "whsec_KEY";
    private static final long TOLERANCE = 300; // seconds

    /** Takes the body as it arrived, before it is parsed, and headers with names in lower case. */
    public static boolean isGenuine(Map<String, String> headers, byte[] body) throws GeneralSecurityException {
        String sentAt = headers.getOrDefault("webhook-timestamp", "");
        if (!sentAt.matches("[0-9]{1,12}")
                || Math.abs(Instant.now().getEpochSecond() - Long.parseLong(sentAt)) > TOLERANCE) {
            return false;
        }
        byte[] key = Base64.getDecoder().decode(KEY.substring("whsec_".length()));
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        mac.update((headers.get("webhook-id") + "." + sentAt + ".").getBytes(StandardCharsets.UTF_8));
        String expected = "v1," + Base64.getEncoder().encodeToString(mac.doFinal(body));
        for (String signature : headers.getOrDefault("webhook-signature", "").split(" ")) {
            if (MessageDigest.isEqual(expected.getBytes(), signature.getBytes())) {
                return true;
            }
        }
        return false;
    }
}
