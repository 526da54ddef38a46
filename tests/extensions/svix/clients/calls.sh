# Thirty commands of Svix's command line, unchanged, as its help shows them.
# sh calls.sh <url> <key> <url of a receiver> <id of an application>

set -eu
export SVIX_SERVER_URL="$1" SVIX_AUTH_TOKEN="$2"
receiver=$3 app=$4
calls=0

# call <words that the answer has> <command…>
call() {
  calls=$((calls + 1))
  wanted=$1
  shift
  answer=$(svix "$@" 2>&1) || { echo "svix $*: $answer"; exit 1; }
  answer=$(echo "$answer" | tr -d ' \n')
  case $answer in *"$wanted"*) ;; *) echo "svix $*: no $wanted in $answer"; exit 1 ;; esac
}

# fails <status> <command…>
fails() {
  calls=$((calls + 1))
  wanted=$1
  shift
  if answer=$(svix "$@" 2>&1); then echo "svix $*: did not fail"; exit 1; fi
  case $answer in *"$wanted"*) ;; *) echo "svix $*: no $wanted in $answer"; exit 1 ;; esac
}

call '' health get
acme='{"name": "Acme", "uid": "'$app'"}'
call '"uid":"'"$app"'"' application create "$acme"
call '"name":"Acme"' application get "$app"
call '"data":[' application list --limit 1
call '"plan":"pro"' application patch "$app" '{"metadata": {"plan": "pro"}}'
call '"metadata":{}' application upsert "$app" "$acme"
fails conflict application create "$acme"

call '"name":"sh.paid"' event-type create \
  '{"name": "sh.paid", "description": "Paid", "schemas": {"1": {"type": "object", "examples": [{"order": 1}]}}}'
call '"order":1' event-type get sh.paid
call '"Itispaid"' event-type patch sh.paid '{"description": "It is paid"}'
call '"Sent"' event-type upsert sh.sent '{"description": "Sent"}'
call '' event-type delete sh.sent
call '"data":[' event-type list --limit 1

shop='{"url": "'$receiver'", "uid": "shop", "eventTypes": ["sh.paid"], "throttleRate": 50}'
call '"eventTypes":["sh.paid"]' endpoint create "$app" "$shop"
call '"throttleRate":50' endpoint get "$app" shop
call '"uid":"shop"' endpoint list "$app" --order descending
call '"description":"Shop"' endpoint patch "$app" shop '{"description": "Shop"}'
call '"description":""' endpoint upsert "$app" shop "$shop"
call '' endpoint set-headers "$app" shop '{"headers": {"x-shop": "1"}}'
call '' endpoint patch-headers "$app" shop '{"headers": {"x-shop": "2"}}'
call '"x-shop":"2"' endpoint get-headers "$app" shop
call '' endpoint rotate-secret "$app" shop '{}'
call '"whsec_' endpoint get-secret "$app" shop
fails url endpoint create "$app" '{"url": "ftp://acme.example"}'

call '"eventId":"m-1"' message create "$app" '{"eventType": "sh.paid", "eventId": "m-1", "payload": {"order": 4711}}'
call '"payload":{"order":4711}' message get "$app" m-1 --with-content true
call '"m-1"' message list "$app" --event-types sh.paid
until svix message-attempt list-by-msg "$app" m-1 | grep -q '"status": 0'; do sleep 0.1; done
call '"responseStatusCode":200' message-attempt list-by-msg "$app" m-1
call '"m-1"' message-attempt list-by-endpoint "$app" shop
call '"shop"' message-attempt list-attempted-destinations "$app" m-1
call '"m-1"' message-attempt list-attempted-messages "$app" shop --status 0
attempt=$(svix message-attempt list-by-msg "$app" m-1 | sed -n 's/.*"id": "\(atmpt_[^"]*\)".*/\1/p')
call "$attempt" message-attempt get "$app" m-1 "$attempt"
call '' message-attempt resend "$app" m-1 shop
call '"order":1' endpoint send-example "$app" shop '{"eventType": "sh.paid"}'
call '"running"' endpoint recover "$app" shop "{\"since\": \"$(date -u +%Y-%m-%dT00:00:00Z)\"}"
call '"fail":0' endpoint get-stats "$app" shop
call '"url"' authentication app-portal-access "$app" '{"readOnly": true}'
call '' endpoint delete "$app" shop
call '' application delete "$app"
echo $calls
