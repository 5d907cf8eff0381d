package registry

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// lost is the first timeout after which a request without an answer is repeated. It doubles with each try.
const lost = 3 * time.Second

// answered repeats a request until an answer comes, for patience at most: a request that is sent during a leader election is lost without an
// error. ask must be idempotent.
func answered[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	for wait := lost; ; wait *= 2 {
		try, stop := context.WithTimeout(ctx, wait)
		x, err := ask(try)
		silent := err != nil && try.Err() != nil
		stop()
		if !silent || ctx.Err() != nil {
			return x, err
		}
	}
}

// stream opens a stream, with its current state.
func stream(ctx context.Context, in jetstream.JetStream, name string) (jetstream.Stream, error) {
	return answered(ctx, func(ctx context.Context) (jetstream.Stream, error) { return in.Stream(ctx, name) })
}

// newest reads the newest message of a subject.
func newest(ctx context.Context, s jetstream.Stream, subject string) (*jetstream.RawStreamMsg, error) {
	return answered(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return s.GetLastMsgForSubject(ctx, subject)
	})
}

// store writes a message. The stream must keep only one copy if it is written twice: the newest of its subject, or the first with its id.
func store(ctx context.Context, in jetstream.JetStream, m *nats.Msg, options ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	return answered(ctx, func(ctx context.Context) (*jetstream.PubAck, error) { return in.PublishMsg(ctx, m, options...) })
}
