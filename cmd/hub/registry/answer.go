package registry

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// lost is how long an answer is waited for before the question is asked again, at first.
const lost = 3 * time.Second

// answered asks until an answer comes, for patience at most: what hubs are asked while they choose who leads is lost, and nobody says so.
// ask must change nothing, or nothing more when it is done twice.
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

// stream asks how a stream is.
func stream(ctx context.Context, in jetstream.JetStream, name string) (jetstream.Stream, error) {
	return answered(ctx, func(ctx context.Context) (jetstream.Stream, error) { return in.Stream(ctx, name) })
}

// newest reads the newest message of a subject.
func newest(ctx context.Context, s jetstream.Stream, subject string) (*jetstream.RawStreamMsg, error) {
	return answered(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return s.GetLastMsgForSubject(ctx, subject)
	})
}

// store writes a message of which the stream keeps one: the newest of its subject, or the first with its id.
func store(ctx context.Context, in jetstream.JetStream, m *nats.Msg, options ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	return answered(ctx, func(ctx context.Context) (*jetstream.PubAck, error) { return in.PublishMsg(ctx, m, options...) })
}
