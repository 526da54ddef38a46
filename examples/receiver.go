// Receive webhooks: verify the signature, drop duplicates, answer at once, process later.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const maxBody = 1 << 20 // bytes; the signature can be verified only after the whole body was read

type job struct {
	id    string
	event []byte
}

func main() {
	secret := os.Getenv("WEBHOOK_SECRET")
	if !strings.HasPrefix(secret, "whsec_") {
		fmt.Fprintln(os.Stderr, "Set WEBHOOK_SECRET to the signing key of the webhook: whsec_…")
		os.Exit(1)
	}
	webhook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		log.Fatal(err)
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "9000"
	}

	// In production, store both in your database before answering: a unique column of ids, and a table of jobs.
	var ids sync.Map
	jobs := make(chan job, 1000)
	go func() {
		for job := range jobs { // slow work belongs here
			fmt.Printf("%s  %s\n", job.id, job.event)
		}
	}()

	http.HandleFunc("POST /hook", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		}
		if err := webhook.Verify(body, r.Header); err != nil {
			http.Error(w, "wrong signature", http.StatusBadRequest)
			return
		}
		id := r.Header.Get("webhook-id")
		if _, isKnown := ids.LoadOrStore(id, true); isKnown {
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprint(w, "duplicate")
			return
		}
		jobs <- job{id, body}
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, "accepted")
	})
	// Takes the place of Slack. Notifications are not signed.
	http.HandleFunc("POST /notes", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		fmt.Printf("notification  %s\n", body)
		w.WriteHeader(http.StatusNoContent)
	})

	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("Listening on http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}
