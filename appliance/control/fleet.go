package control

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"passerelle/appliance/config"
)

// Fleet carries out what somebody at the box does about the box's fleet. If the caller made a mistake, it returns an error made by
// Refuse.
type Fleet interface {
	// AcceptService opens an essential service that the fleet proposes. WithdrawService closes one that was accepted.
	AcceptService(ctx context.Context, name string) error
	WithdrawService(ctx context.Context, name string) error
	// TakeLayer makes the box use the layer of a level of its fleet, which the caller has verified. An empty text removes the layer.
	// name is the region's or the association's.
	TakeLayer(ctx context.Context, level, name string, text []byte) error
	// JoinFleet requests the box's membership with a sticker's code. The bundle has the certificates by which hubs are recognized.
	// Without a bundle, the one on the card is used, or else the previous one.
	// LeaveFleet forgets membership and key.
	JoinFleet(bundle []byte, code string) error
	LeaveFleet() error
}

// Paths of the requests.
const (
	pathAccept   = "/fleet/accept"   // with the service as a parameter
	pathWithdraw = "/fleet/withdraw" // likewise
	pathLayer    = "/fleet/layer"    // with the layer's text, and the level and the name as parameters
	pathJoin     = "/fleet/join"     // with the bundle, and the code as a parameter
	pathLeave    = "/fleet/leave"
	service      = "service"
	code         = "code"
	level        = "level"
	levelName    = "name"
)

// maxBundle is how much of a bundle is read, in bytes. It is more than protocol.MaxBundle.
const maxBundle = 128 << 10

// fleetRequests registers the requests.
func fleetRequests(act func(path string, f func(*http.Request) (text string, err error)), b Box) {
	act(pathAccept, func(r *http.Request) (string, error) { return "", b.AcceptService(r.Context(), r.FormValue(service)) })
	act(pathWithdraw, func(r *http.Request) (string, error) { return "", b.WithdrawService(r.Context(), r.FormValue(service)) })
	act(pathLayer, func(r *http.Request) (string, error) {
		text, err := io.ReadAll(io.LimitReader(r.Body, config.MaxFragment+1)) // a larger text is refused
		if err != nil {
			return "", err
		}
		asked := r.URL.Query()
		return "", b.TakeLayer(r.Context(), asked.Get(level), asked.Get(levelName), text)
	})
	act(pathJoin, func(r *http.Request) (string, error) {
		bundle, err := io.ReadAll(io.LimitReader(r.Body, maxBundle+1)) // a larger bundle is refused
		if err != nil {
			return "", err
		}
		if len(bundle) == 0 {
			bundle = nil
		}
		return "", b.JoinFleet(bundle, r.URL.Query().Get(code))
	})
	act(pathLeave, func(*http.Request) (string, error) { return "", b.LeaveFleet() })
}

// AcceptService opens an essential service that the box's fleet proposes.
func (c Client) AcceptService(ctx context.Context, name string) error {
	_, err := c.act(ctx, pathAccept+"?"+url.Values{service: {name}}.Encode())
	return err
}

// WithdrawService closes an essential service that was accepted.
func (c Client) WithdrawService(ctx context.Context, name string) error {
	_, err := c.act(ctx, pathWithdraw+"?"+url.Values{service: {name}}.Encode())
	return err
}

// TakeLayer makes the box use the layer of a level of its fleet, which the caller has verified. An empty text removes the layer.
func (c Client) TakeLayer(ctx context.Context, of, name string, text []byte) error {
	_, err := c.ask(ctx, http.MethodPost, pathLayer+"?"+url.Values{level: {of}, levelName: {name}}.Encode(), text)
	return err
}

// JoinFleet requests the box's membership with a sticker's code. Without a bundle, the one on the card is used, or else the previous
// one.
func (c Client) JoinFleet(ctx context.Context, bundle []byte, typed string) error {
	_, err := c.ask(ctx, http.MethodPost, pathJoin+"?"+url.Values{code: {typed}}.Encode(), bundle)
	return err
}

// LeaveFleet forgets membership and key.
func (c Client) LeaveFleet(ctx context.Context) error {
	_, err := c.act(ctx, pathLeave)
	return err
}
