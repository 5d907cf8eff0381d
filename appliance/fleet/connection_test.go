package fleet

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"passerelle/appliance/fleet/protocol"
)

// forgetful is a hub that answers a request only the second time, like a hub whose peer died with the first one. It speaks as much of
// NATS's protocol (docs.nats.io, "Client Protocol") as one box needs.
func forgetful(t *testing.T, own tls.Certificate, first string) (address string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{own}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "INFO {\"server_id\":\"A\",\"version\":\"2.10.0\",\"proto\":1,\"headers\":true,\"tls_required\":true,\"max_payload\":1048576,\"nonce\":\"abc\"}\r\n")
		asked := 0
		sid := "1"
		for r := bufio.NewReader(conn); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			words := strings.Fields(line)
			switch words[0] {
			case "PING":
				fmt.Fprint(conn, "PONG\r\n")
			case "SUB":
				sid = words[len(words)-1]
			case "PUB":
				if _, err := r.ReadString('\n'); err != nil {
					return
				}
				if asked++; asked == 1 {
					fmt.Fprint(conn, strings.ReplaceAll(first, "INBOX", words[2]+" "+sid))
					continue
				}
				head := "NATS/1.0\r\nNats-Sequence: 7\r\n\r\n"
				fmt.Fprintf(conn, "HMSG %s %s %d %d\r\n%shere\r\n", words[2], sid, len(head), len(head)+4, head)
			}
		}
	}()
	return l.Addr().String()
}

// TestLostQuestion: a request that gets no answer, or that no hub could answer at that moment, is sent again.
func TestLostQuestion(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	for name, first := range map[string]string{
		"lost":      "",
		"of nobody": "HMSG INBOX 16 16\r\nNATS/1.0 503\r\n\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := forgetful(t, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, first)
			c, err := New(Options{
				Dir: t.TempDir(), Hubs: []string{address}, Pace: Pace{Timeout: 2 * time.Second}, Now: time.Now,
				Bundle: protocol.Bundle{Roots: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))},
				Log:    slog.New(slog.NewTextHandler(io.Discard, nil)),
				Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					var d net.Dialer
					return d.DialContext(ctx, network, address)
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			n, err := c.connect(t.Context(), identity{name: "abcdefghij", association: "lilas", token: "a token", seed: string(seed)})
			if err != nil {
				t.Fatal(err)
			}
			defer n.close()
			for _, stream := range []string{protocol.StreamRegion, protocol.StreamPack} {
				m, err := n.get(t.Context(), stream, "region.lilas")
				if err != nil || string(m.body) != "here" || m.sequence != 7 {
					t.Errorf("%s: %+v, %v", stream, m, err)
				}
			}
		})
	}
}
