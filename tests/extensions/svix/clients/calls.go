// Thirty calls of Svix's Go client, unchanged, as its documentation shows them.
// go run . <url> <key> <url of a receiver> <id of an application>
package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"strings"
	"time"

	svix "github.com/svix/svix-webhooks/go"
	"github.com/svix/svix-webhooks/go/models"
)

var calls int

// call returns what a call has returned. An error ends the program.
func call[T any](answer *T, err error) T {
	calls++
	if err != nil {
		var refused *svix.Error
		if errors.As(err, &refused) {
			err = fmt.Errorf("%w: %s", err, refused.Body())
		}
		panic(fmt.Sprintf("call %d: %v", calls, err))
	}
	if answer == nil { // a 204
		return *new(T)
	}
	return *answer
}

// done is call for those that return nothing.
func done(err error) {
	call[struct{}](nil, err)
}

func fails[T any](_ *T, err error) int {
	calls++
	var refused *svix.Error
	if !errors.As(err, &refused) {
		panic(fmt.Sprintf("call %d did not fail: %v", calls, err))
	}
	return refused.Status()
}

func equal[T any](found, wanted T) {
	if !reflect.DeepEqual(found, wanted) {
		panic(fmt.Sprintf("after call %d: %v is not %v", calls, found, wanted))
	}
}

func to[T any](value T) *T {
	return &value
}

func main() {
	server, err := url.Parse(os.Args[1])
	if err != nil {
		panic(err)
	}
	receiver, app := os.Args[3], os.Args[4]
	client, err := svix.New(os.Args[2], &svix.SvixOptions{ServerUrl: server})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()

	done(client.Health.Get(ctx))
	acme := models.ApplicationIn{Name: "Acme", Uid: &app, Metadata: &map[string]string{"plan": "pro"}}
	equal(call(client.Application.Create(ctx, acme, nil)).Uid, &app)
	equal(call(client.Application.GetOrCreate(ctx, models.ApplicationIn{Name: "Other", Uid: &app}, nil)).Name, "Acme")
	equal(call(client.Application.Get(ctx, app)).Metadata, map[string]string{"plan": "pro"})
	equal(len(call(client.Application.List(ctx, &svix.ApplicationListOptions{Limit: to(uint64(1))})).Data), 1)
	call(client.Application.Patch(ctx, app, models.ApplicationPatch{Name: to("Acme Ltd")}))
	equal(call(client.Application.Update(ctx, app, models.ApplicationIn{Name: "Acme", Uid: &app})).Name, "Acme")
	equal(fails(client.Application.Create(ctx, acme, nil)), 409)

	schemas := map[string]any{"1": map[string]any{"type": "object", "examples": []any{map[string]any{"order": 1.0}}}}
	paid := models.EventTypeIn{Name: "go.paid", Description: "Paid", Schemas: &schemas}
	equal(call(client.EventType.Create(ctx, paid, nil)).Schemas, &schemas)
	equal(call(client.EventType.Get(ctx, "go.paid")).Description, "Paid")
	call(client.EventType.Update(ctx, "go.paid", models.EventTypeUpdate{Description: "It is paid", Schemas: &schemas}))
	call(client.EventType.Patch(ctx, "go.paid", models.EventTypePatch{Description: to("Paid")}))
	equal(len(call(client.EventType.List(ctx, &svix.EventTypeListOptions{Limit: to(uint64(1))})).Data), 1)

	shop := models.EndpointIn{Url: receiver, Uid: to("shop"), FilterTypes: []string{"go.paid"}, ThrottleRate: to(uint16(50))}
	endpoint := call(client.Endpoint.Create(ctx, app, shop, nil))
	equal(endpoint.FilterTypes, []string{"go.paid"})
	equal(call(client.Endpoint.Get(ctx, app, "shop")), endpoint)
	equal(len(call(client.Endpoint.List(ctx, app, nil)).Data), 1)
	call(client.Endpoint.Patch(ctx, app, "shop", models.EndpointPatch{Description: to("Shop")}))
	call(client.Endpoint.Update(ctx, app, "shop", models.EndpointUpdate{Url: receiver, Uid: to("shop")}))
	headers := map[string]string{"x-shop": "1"}
	done(client.Endpoint.UpdateHeaders(ctx, app, "shop", models.EndpointHeadersIn{Headers: headers}))
	equal(call(client.Endpoint.GetHeaders(ctx, app, "shop")).Headers, headers)
	done(client.Endpoint.RotateSecret(ctx, app, "shop", models.EndpointSecretRotateIn{}, nil))
	equal(strings.HasPrefix(call(client.Endpoint.GetSecret(ctx, app, "shop")).Key, "whsec_"), true)
	equal(fails(client.Endpoint.Create(ctx, app, models.EndpointIn{Url: "ftp://acme.example"}, nil)), 422)

	order := map[string]any{"order": 4711.0}
	message := call(client.Message.Create(ctx, app, models.MessageIn{EventType: "go.paid", EventId: to("m-1"), Payload: order}, nil))
	equal(message.EventId, to("m-1"))
	equal(call(client.Message.Get(ctx, app, message.Id, &svix.MessageGetOptions{WithContent: to(true)})).Payload, order)
	listed := svix.MessageListOptions{EventTypes: &[]string{"go.paid", "go.sent"}}
	equal(len(call(client.Message.List(ctx, app, &listed)).Data), 1)

	attempts := call(client.MessageAttempt.ListByMsg(ctx, app, message.Id, nil)).Data
	for len(attempts) == 0 {
		time.Sleep(100 * time.Millisecond)
		attempts = call(client.MessageAttempt.ListByMsg(ctx, app, message.Id, nil)).Data
		calls-- // one call, however long it takes
	}
	equal(attempts[0].Status, models.MESSAGESTATUS_SUCCESS)
	equal(attempts[0].ResponseStatusCode, int16(200))
	equal(call(client.MessageAttempt.Get(ctx, app, message.Id, attempts[0].Id, nil)).Url, receiver)
	equal(len(call(client.MessageAttempt.ListByEndpoint(ctx, app, "shop", nil)).Data), 1)
	equal(call(client.MessageAttempt.ListAttemptedDestinations(ctx, app, message.Id, nil)).Data[0].Id, endpoint.Id)
	equal(call(client.MessageAttempt.ListAttemptedMessages(ctx, app, "shop", nil)).Data[0].Id, message.Id)
	call(client.MessageAttempt.Resend(ctx, app, message.Id, "shop", nil))
	example := call(client.Endpoint.SendExample(ctx, app, "shop", models.EventExampleIn{EventType: "go.paid"}, nil))
	equal(example.Payload, map[string]any{"order": 1.0})
	call(client.Endpoint.Recover(ctx, app, "shop", models.RecoverIn{Since: time.Now().Add(-time.Hour)}, nil))
	equal(call(client.Endpoint.GetStats(ctx, app, "shop", nil)).Fail, int64(0))
	call(client.Authentication.AppPortalAccess(ctx, app, models.AppPortalAccessIn{}, nil))
	done(client.Endpoint.Delete(ctx, app, "shop"))
	done(client.Application.Delete(ctx, app))
	fmt.Println(calls)
}
