package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"passerelle/appliance/fleet/content"
	"passerelle/appliance/fleet/layer"
	"passerelle/appliance/fleet/repository"
	"passerelle/appliance/state"
	"passerelle/cmd/internal/box"
	"passerelle/cmd/internal/cluster"
	"passerelle/netctl/netlab"
)

// demo is the fleet of the story, with its people's keys and codes.
type demo struct {
	options
	figures
	scenes       []*netlab.Scene // one for each real box; the hubs are on the internet of the first
	lilas, roses *realBox
	machines     [2]*machine
	*hubs
	*crowd
	signed signedFolder
	code   string // Ana's, for the pages
	cookie [hubCount]string
	relays sync.WaitGroup

	idle      int           // resident memory of the largest hub when idle, in bytes
	epoch     int64         // of the last release
	good, bad released      // the release that works, and the one that does not
	codes     []string      // stickers' codes for the crowd
	forged    int           // how many forgeries were made
	moved     time.Duration // how long it took until every box knew its region
	delivered []int         // the days that every box has reported
}

// realBox is a box whose daemon is the real program.
type realBox struct {
	*box.Daemon
	machine           *machine
	association, name string
}

func newDemo(ctx context.Context, o options) (*demo, error) {
	d := &demo{options: o}
	if err := d.build(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("build the stage: %w", err), d.close())
	}
	return d, nil
}

func (d *demo) build(ctx context.Context) error {
	for _, name := range []string{"lilas", "roses"} {
		s, err := netlab.Standard(ctx, netlab.Options{Name: name, Residents: 1})
		if err != nil {
			return err
		}
		d.scenes = append(d.scenes, s)
	}
	first := d.scenes[0]
	h, err := newHubs(ctx, first.Internet, d.hub, filepath.Join(first.Dir(), "fleet"))
	if err != nil {
		return err
	}
	d.hubs = h
	if err := d.bridge(d.scenes[1].Internet); err != nil {
		return err
	}
	if d.signed, err = newSignedFolder(filepath.Join(first.Dir(), "signed")); err != nil {
		return err
	}
	d.crowd, err = newCrowd(h, d.options.boxes, first.World)
	return err
}

// bridge makes the hubs reachable from another internet.
func (d *demo) bridge(internet *netlab.Internet) error {
	for _, h := range hubHosts {
		internet.Names.Set(h.Name, h.Addr)
		if err := internet.AddAddress("lo", netip.PrefixFrom(h.Addr, h.Addr.BitLen())); err != nil {
			return err
		}
		at := net.JoinHostPort(h.Addr.String(), "443")
		l, err := internet.Listen("tcp4", at)
		if err != nil {
			return err
		}
		d.relays.Go(func() {
			for {
				near, err := l.Accept()
				if err != nil {
					return
				}
				d.relays.Go(func() { d.relay(near, at) })
			}
		})
	}
	return nil
}

// relay copies in both directions until one side closes, for example when a hub is killed.
func (d *demo) relay(near net.Conn, at string) {
	defer near.Close()
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	far, err := d.hubs.Internet.Dial(ctx, "tcp", at)
	if err != nil {
		return // the box sees its connection closed
	}
	defer far.Close()
	var ways sync.WaitGroup
	for _, way := range [][2]net.Conn{{far, near}, {near, far}} {
		ways.Go(func() {
			io.Copy(way[0], way[1])
			near.Close()
			far.Close()
		})
	}
	ways.Wait()
}

// close ends and removes all programs, namespaces and folders that were made.
func (d *demo) close() (err error) {
	if d.crowd != nil {
		d.crowd.close()
	}
	if d.hubs != nil {
		d.hubs.Close()
	}
	for _, m := range d.machines {
		m.close()
	}
	for _, s := range d.scenes {
		err = errors.Join(err, s.Close())
	}
	d.relays.Wait()
	return err
}

// signedFolder is a repository with the keys of its signers.
type signedFolder struct {
	repository.Repository
	root, release, hub []repository.Key
	lilas              repository.Key
}

// newSignedFolder makes the keys, publishes a root, and delegates the association's own folder to lilas.
func newSignedFolder(dir string) (s signedFolder, err error) {
	s.Repository.Dir = dir
	public := func(keys *[]repository.Key) (all []repository.PublicKey) {
		for range 3 {
			key, keyErr := repository.NewKey()
			err = errors.Join(err, keyErr)
			*keys, all = append(*keys, key), append(all, key.PublicKey)
		}
		return all
	}
	keys := repository.Keys{Root: public(&s.root), Release: public(&s.release), Hub: public(&s.hub)}
	var keyErr error
	s.lilas, keyErr = repository.NewKey()
	if err := errors.Join(err, keyErr, os.Mkdir(dir, 0o755)); err != nil {
		return s, err
	}
	now := time.Now()
	if err := s.StageRoot(keys, now); err != nil {
		return s, err
	}
	if err := s.publish(repository.Root, s.root[:2]...); err != nil {
		return s, err
	}
	if err := s.Delegate("lilas", &s.lilas.PublicKey, []string{layer.Folder(layer.Association, "lilas")}, now); err != nil {
		return s, err
	}
	return s, s.publish(repository.Targets, s.release[:2]...)
}

// publish signs what is staged of a role with people's keys, and publishes it.
func (s signedFolder) publish(role string, people ...repository.Key) error {
	for _, key := range people {
		if err := s.Sign(role, key); err != nil {
			return err
		}
	}
	_, err := s.Publish()
	return err
}

// fragment publishes a fragment of configuration for the boxes of lilas, signed by lilas, and seals the repository with a hub's key.
func (s signedFolder) fragment(text string) error {
	path, now := layer.Path(layer.Association, "lilas"), time.Now()
	file, err := s.Add(path, []byte(text))
	if err != nil {
		return err
	}
	if err := s.ChangeOf("lilas", now, func(t *metadata.TargetsType) error {
		t.Targets = map[string]*metadata.TargetFiles{path: file}
		return nil
	}); err != nil {
		return err
	}
	if err := s.publish("lilas", s.lilas); err != nil {
		return err
	}
	return s.Seal(s.hub[0], now)
}

// pack publishes a pack of one page for all boxes, signed by the release role, and seals the repository with a hub's key. The pack has size
// bytes that do not compress.
func (s signedFolder) pack(name, title string, size int) error {
	picture := append([]byte("\x89PNG\r\n\x1a\n"), noise(3, size)...)
	var file bytes.Buffer
	z := zip.NewWriter(&file)
	for _, f := range []struct{ name, text string }{{"index.html", "<title>" + title + `</title><img src="a.png" alt="">`}, {"a.png", string(picture)}} {
		w, err := z.Create(f.name)
		if err == nil {
			_, err = io.WriteString(w, f.text)
		}
		if err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	folder := content.Folder(layer.Folder(layer.All, ""), content.Packs)
	at, target, _, err := content.Stage(s, folder, name, &file)
	if err != nil {
		return err
	}
	now := time.Now()
	if err := s.Change(now, func(t *metadata.TargetsType) error {
		t.Targets = map[string]*metadata.TargetFiles{at: target}
		return nil
	}); err != nil {
		return err
	}
	if err := s.publish(repository.Targets, s.release[:2]...); err != nil {
		return err
	}
	return s.Seal(s.hub[0], now)
}

// startBox starts a box's daemon, and waits until it shares.
func (d *demo) startBox(ctx context.Context, i int) (*realBox, error) {
	root, times := filepath.Join(d.signed.Dir, "metadata", "1.root.json"), ""
	if i == 1 { // the first box takes releases only while nobody is online
		times = "hours = \"24/7\"\n"
	}
	m, err := newMachine(ctx, d.scenes[i], root, box.Setup{
		More: cluster.Section(hubHosts[:]...) + times, Args: []string{"--root", root},
	}, newSystem(d.programOf(firstVersion)))
	if err != nil {
		return nil, err
	}
	d.machines[i] = m
	if err := m.switchOn(ctx); err != nil {
		return nil, err
	}
	_, err = m.daemon.Do(ctx, "clock", "--confirm")
	return &realBox{Daemon: m.daemon, machine: m, association: association(i)}, err
}

// status waits until ok accepts the box's status.
func (b *realBox) status(ctx context.Context, what string, ok func(state.Status) bool) (s state.Status, err error) {
	_, err = until(ctx, what, func() error {
		if s, err = b.Status(ctx); err != nil {
			return err
		}
		if s.Fleet == nil {
			return errors.New("the box is in no fleet")
		}
		if !ok(s) {
			return fmt.Errorf("the box is %s, in its fleet %+v", s.State, *s.Fleet)
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("%w\nits daemon:\n%s", err, b.Log())
	}
	return s, err
}

// page requests a page of hub i's dashboard as Ana. She signs in at each hub once.
func (d *demo) page(ctx context.Context, i int, method, path string, form url.Values) (string, error) {
	if d.cookie[i] == "" {
		if _, err := d.ask(ctx, i, http.MethodPost, "/login", url.Values{"code": {d.code}}); err != nil {
			return "", err
		}
	}
	return d.ask(ctx, i, method, path, form)
}

func (d *demo) ask(ctx context.Context, i int, method, path string, form url.Values) (string, error) {
	pool, err := d.hubs.Bundle.Pool()
	if err != nil {
		return "", err
	}
	client := d.hubs.Internet.HTTPClient()
	transport := client.Transport.(*http.Transport)
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	transport.DialContext, transport.DisableKeepAlives = d.hubs.Dial, true
	r, err := http.NewRequestWithContext(ctx, method, "https://"+hubHosts[i].Name+":8443"+path, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept-Language", "en")
	r.Header.Set("Cookie", d.cookie[i])
	answer, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	for _, c := range answer.Cookies() {
		d.cookie[i] = c.Name + "=" + c.Value
	}
	text, err := io.ReadAll(answer.Body)
	want := http.StatusOK
	if method == http.MethodPost {
		want = http.StatusSeeOther
	}
	if err == nil && answer.StatusCode != want {
		err = fmt.Errorf("%s %s of %s is answered with %d: %.300s", method, path, hubHosts[i].Name, answer.StatusCode, text)
	}
	return string(text), err
}

// press submits a form of a box's page at hub 1.
func (d *demo) press(ctx context.Context, box, what string, form url.Values) error {
	_, err := d.page(ctx, 0, http.MethodPost, "/box/"+box+"/"+what, form)
	return err
}
