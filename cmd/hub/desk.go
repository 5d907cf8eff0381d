package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"

	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/fleet/rollout"
	"passerelle/appliance/fleet/trust"
	"passerelle/cmd/hub/authority"
	"passerelle/cmd/hub/registry"
	"passerelle/cmd/hub/stages"
	"passerelle/cmd/internal/cli"
	"passerelle/image/update/offer"
)

// patience is the timeout of a command.
const patience = 30 * time.Second

// desk is what a running command works with: a connection to the hub that runs from the same folder, the author for the audit, and the
// members.
type desk struct {
	*registry.Registry
	dir, author string
	members     authority.Members
}

// at parses a command's flags and arguments, connects to the hub, and calls do.
func (t *tool) at(args []string, words int, define func(*flag.FlagSet), do func(context.Context, *desk, []string) error) error {
	d := &desk{}
	rest, err := cli.Parse(args, words, func(f *flag.FlagSet) {
		dirFlag(f, &d.dir)
		asFlag(f, &d.author)
		define(f)
	})
	if err != nil {
		return err
	}
	f, err := openFolder(d.dir)
	if err != nil {
		return cli.Wrong(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	r, closeIt, err := f.desk(ctx, t.now)
	if err != nil {
		return err
	}
	defer closeIt()
	d.Registry = r
	if d.members, _, err = d.Members(ctx); err != nil {
		return err
	}
	return do(ctx, d, rest)
}

// desk opens the registry through the hub that runs from this folder, on this machine. closeIt closes the connections.
func (f folder) desk(ctx context.Context, now func() time.Time) (r *registry.Registry, closeIt func(), err error) {
	o := registry.Options{Keys: f.keys, Now: now}
	if o.Hub, err = f.connect(authority.Hub, now); err != nil {
		return nil, nil, err
	}
	if o.Fleet, err = f.connect(authority.Fleet, now); err != nil {
		o.Hub.Close()
		return nil, nil, err
	}
	closeIt = func() {
		o.Hub.Close()
		o.Fleet.Close()
	}
	if r, err = registry.Open(ctx, o); err != nil {
		closeIt()
		return nil, nil, err
	}
	return r, closeIt, nil
}

// connect connects to the hub that runs from this folder, on this machine, as a user of an account.
func (f folder) connect(a authority.Account, now func() time.Time) (*nats.Conn, error) {
	token, pair, err := f.keys.User(a, "desk", rand.Reader)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(f.Listen)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(f.ca)
	// The certificate has the name by which boxes know this hub, not localhost.
	own, err := f.server.TLS()
	if err != nil {
		return nil, err
	}
	c, err := nats.Connect("tls://"+net.JoinHostPort(host, port), nats.TLSHandshakeFirst(), nats.NoReconnect(), nats.IgnoreDiscoveredServers(),
		nats.Secure(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13, ServerName: serverName(own), Time: now}),
		nats.UserJWT(func() (string, error) { return token, nil }, pair.Sign))
	if err != nil {
		return nil, fmt.Errorf("connect to the hub at %s (does it run?): %w", f.Listen, err)
	}
	return c, nil
}

// serverName returns the host name or address that a certificate is for, "" if it has neither.
func serverName(c tls.Certificate) string {
	if len(c.Leaf.DNSNames) > 0 {
		return c.Leaf.DNSNames[0]
	}
	if len(c.Leaf.IPAddresses) > 0 {
		return c.Leaf.IPAddresses[0].String()
	}
	return ""
}

func none(*flag.FlagSet) {}

func addAssociation(t *tool, args []string) error {
	var region string
	return t.at(args, 1, func(f *flag.FlagSet) { f.StringVar(&region, "region", "", "the `REGION` that it belongs to") },
		func(ctx context.Context, d *desk, words []string) error {
			if err := errors.Join(protocol.CheckName(words[0]), checkOptional(region)); err != nil {
				return cli.Wrong(err)
			}
			return d.AddAssociation(ctx, d.author, words[0], region)
		})
}

func checkOptional(name string) error {
	if name == "" {
		return nil
	}
	return protocol.CheckName(name)
}

func makeSticker(t *tool, args []string) error {
	var count, days int
	return t.at(args, 1, func(f *flag.FlagSet) {
		f.IntVar(&count, "count", 1, "how many")
		f.IntVar(&days, "days", 365, "how long they may wait")
	}, func(ctx context.Context, d *desk, words []string) error {
		if count < 1 || days < 1 {
			return cli.Wrong(errors.New("count and days are at least 1"))
		}
		for range count {
			code, err := d.MakeSticker(ctx, d.author, words[0], t.now().AddDate(0, 0, days))
			if err != nil {
				return err
			}
			fmt.Fprintln(t.out, code)
		}
		return nil
	})
}

func (t *tool) table(rows func(io.Writer)) error {
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	rows(w)
	return w.Flush()
}

func day(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.UTC().Format("2006-01-02 15:04")
}

func listBoxes(t *tool, args []string) error {
	return t.at(args, 0, none, func(ctx context.Context, d *desk, _ []string) error {
		boxes, err := d.Boxes(ctx)
		if err != nil {
			return err
		}
		return t.table(func(w io.Writer) {
			fmt.Fprintln(w, "BOX\tASSOCIATION\tSTAGE\tLAST REPORT (UTC)\tWORDS")
			for _, b := range boxes {
				words := ""
				if b.Stage == registry.Waiting {
					words = strings.Join(b.Words[:], " ")
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", b.Name, b.Association, b.Stage, day(b.Seen), words)
			}
		})
	})
}

func confirmBox(t *tool, args []string) error {
	return t.at(args, 1+protocol.WordCount, none, func(ctx context.Context, d *desk, words []string) error {
		for i := range words {
			words[i] = strings.ToLower(words[i])
		}
		return d.Confirm(ctx, d.author, words[0], words[1:])
	})
}

func revokeBox(t *tool, args []string) error {
	return t.at(args, 1, none, func(ctx context.Context, d *desk, words []string) error {
		return d.Revoke(ctx, d.author, words[0])
	})
}

func placeBox(t *tool, args []string) error {
	return t.at(args, -1, none, func(ctx context.Context, d *desk, words []string) error {
		if len(words) < 2 {
			return cli.Wrong(errors.New("name the box and its département"))
		}
		return d.Place(ctx, d.author, words[0], strings.Join(words[2:], " "), words[1])
	})
}

func addPerson(t *tool, args []string) error {
	var association string
	return t.at(args, 1, func(f *flag.FlagSet) {
		f.StringVar(&association, "association", "", "whose boxes they see; without it, all")
	}, func(ctx context.Context, d *desk, words []string) error {
		code, err := d.AddPerson(ctx, d.author, words[0], association)
		if err != nil {
			return err
		}
		fmt.Fprintln(t.out, code)
		return nil
	})
}

func removePerson(t *tool, args []string) error {
	return t.at(args, 1, none, func(ctx context.Context, d *desk, words []string) error {
		return d.RemovePerson(ctx, d.author, words[0])
	})
}

func listPeople(t *tool, args []string) error {
	return t.at(args, 0, none, func(ctx context.Context, d *desk, _ []string) error {
		people, err := d.People(ctx)
		if err != nil {
			return err
		}
		return t.table(func(w io.Writer) {
			fmt.Fprintln(w, "PERSON\tSEES\tSINCE (UTC)")
			for _, p := range people {
				fmt.Fprintf(w, "%s\t%s\t%s\n", p.Name, cmp.Or(p.Association, "all"), day(p.Since))
			}
		})
	})
}

// readBody reads a file. It is an error if the file has more than most bytes.
func readBody(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(text)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return text, nil
}

func sendCommand(t *tool, args []string) error {
	return t.at(args, 2, none, func(ctx context.Context, d *desk, words []string) error {
		body, err := readBody(words[1], protocol.MaxCommand)
		if err != nil {
			return err
		}
		boxes, err := d.Boxes(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(boxes, func(b registry.Box) bool { return b.Name == words[0] })
		if i < 0 || boxes[i].Stage != registry.Member {
			return cli.Wrong(fmt.Errorf("no member is called %q", words[0]))
		}
		return d.PutCommand(ctx, d.author, boxes[i].Association, words[0], body)
	})
}

// maxFile bounds one file of a repository, in bytes, since it is read into memory.
const maxFile = 64 << 20

// putPatience is the timeout for publishing a repository: a release of an image has some 60 MB.
const putPatience = time.Hour

func putRepository(t *tool, args []string) error {
	return t.at(args, 1, none, func(ctx context.Context, d *desk, words []string) error {
		ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), putPatience)
		defer stop()
		if err := d.Note(ctx, d.author, "publish repository", words[0]); err != nil {
			return err
		}
		names, err := published(words[0])
		if err != nil {
			return err
		}
		var last protocol.Wake // of the last file, which is the metadata's timestamp
		for _, name := range names {
			body, err := readBody(filepath.Join(words[0], filepath.FromSlash(name)), maxFile)
			if err != nil {
				return err
			}
			// Targets never change, and most files of a release were in the one before it. What the hub has already is skipped,
			// so that it is not replicated to the other hubs again.
			if path.Dir(name) != trust.MetadataFolder && d.HasFile(ctx, name, body) {
				continue
			}
			if last, err = d.PutFile(ctx, name, body); err != nil {
				return err
			}
		}
		return d.WakeAll(last)
	})
}

// published returns the names of a repository's files in the order in which they are published. The files of releases come first, in the
// order in which boxes read them, since a hub's store reads megabytes around each message. Then come the other targets, and last the
// metadata, so that it names only files that are already there. Staged files are for the signers and are not published.
func published(dir string) ([]string, error) {
	files := os.DirFS(dir)
	names := offer.Files(files)
	known := map[string]bool{}
	for _, name := range names {
		known[name] = true
	}
	for _, sub := range []string{trust.TargetsFolder, trust.MetadataFolder} {
		if err := fs.WalkDir(files, sub, func(name string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() && !known[name] {
				names = append(names, name)
			}
			return err
		}); err != nil {
			return nil, err
		}
	}
	return names, nil
}

func rolloutKey(t *tool, args []string) error {
	var dir string
	if _, err := cli.Parse(args, 0, func(f *flag.FlagSet) { dirFlag(f, &dir) }); err != nil {
		return err
	}
	f, err := openFolder(dir)
	if err != nil {
		return cli.Wrong(err)
	}
	key, err := f.keys.StageKey()
	if err != nil {
		return err
	}
	fmt.Fprintln(t.out, key)
	return nil
}

func beginRollout(t *tool, args []string) error {
	return t.at(args, 2, none, func(ctx context.Context, d *desk, words []string) error {
		var release rollout.Hash
		if err := release.UnmarshalText([]byte(words[1])); err != nil {
			return cli.Wrong(err)
		}
		return d.ChangeRollout(ctx, d.author, "begin roll-out", func(r *registry.Rollout) (err error) {
			*r, err = stages.Begin(*r, words[0], release, t.now())
			return err
		})
	})
}

func showRollout(t *tool, args []string) error {
	return t.at(args, 0, none, func(ctx context.Context, d *desk, _ []string) error {
		r, ok, err := d.Rollout(ctx)
		if err != nil {
			return err
		}
		return t.table(func(w io.Writer) {
			fmt.Fprintln(w, "VERSION\tOF 1000 BOXES\tSTANDS\tSINCE (UTC)\tBY\tMANIFEST")
			if ok {
				fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", r.Version, r.Permille, strings.TrimSpace(string(r.Phase)+" "+r.Why), day(r.Began), r.By, r.Release)
			}
		})
	})
}

func showAudit(t *tool, args []string) error {
	var last uint64
	return t.at(args, 0, func(f *flag.FlagSet) { f.Uint64Var(&last, "last", 50, "how many lines") },
		func(ctx context.Context, d *desk, _ []string) error {
			lines, err := d.Audit(ctx, last)
			if err != nil {
				return err
			}
			return t.table(func(w io.Writer) {
				for _, l := range lines {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", day(l.Time), l.Author, l.Did, l.To, l.Detail)
				}
			})
		})
}

func status(t *tool, args []string) error {
	return t.at(args, 0, none, func(ctx context.Context, d *desk, _ []string) error {
		boxes, err := d.Boxes(ctx)
		if err != nil {
			return err
		}
		streams, err := d.Streams(ctx)
		if err != nil {
			return err
		}
		hubs, err := d.Hubs(ctx)
		if err != nil {
			return err
		}
		type sums struct{ member, waiting, revoked, seen int }
		of := map[string]*sums{}
		for name := range d.members.Associations {
			of[name] = &sums{}
		}
		for _, b := range boxes {
			s := cmp.Or(of[b.Association], &sums{})
			of[b.Association] = s
			switch b.Stage {
			case registry.Member:
				s.member++
			case registry.Waiting:
				s.waiting++
			case registry.Revoked:
				s.revoked++
			}
			if t.now().Sub(b.Seen) < 24*time.Hour {
				s.seen++
			}
		}
		return t.table(func(w io.Writer) {
			fmt.Fprintln(w, "ASSOCIATION\tREGION\tMEMBERS\tREPORTED TODAY\tWAITING\tREVOKED")
			for _, name := range slices.Sorted(maps.Keys(of)) {
				s := of[name]
				fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\n", name, cmp.Or(d.members.Associations[name].Region, "-"), s.member, s.seen, s.waiting, s.revoked)
			}
			fmt.Fprintln(w, "\nSTREAM\tMESSAGES\tBYTES\tLEADER\tHUBS IN STEP")
			for _, s := range streams {
				fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%d of %d\n", s.Name, s.Messages, s.Bytes, s.Leader, s.Current, s.Replicas)
			}
			fmt.Fprintln(w, "\nHUB\tCERTIFICATE UNTIL (UTC)")
			for _, h := range hubs {
				fmt.Fprintf(w, "%s\t%s\n", h.Name, day(h.Until))
			}
		})
	})
}
