package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// ban keeps a room from knowing what it must not. A project's package is banned however far away it is imported; a
// library only in the room's own files, since a type's own package may well need it.
type ban struct {
	room    string   // "passerelle/…", or with a trailing slash the rooms below it
	imports []string // likewise
	but     []string
	why     string
}

var bans = []ban{
	{"passerelle/appliance", []string{"github.com/vishvananda/netlink", "github.com/mdlayher/netlink", "go.etcd.io/bbolt", "net/http", "os/exec", "periph.io/"}, nil,
		"the loop drives what it is handed, so that it can be tested without a kernel"},
	{"passerelle/appliance", []string{"passerelle/netctl/gate", "passerelle/captive"}, nil,
		"the loop sees the kernel and the pages through interfaces"},
	{"passerelle/appliance/decide", []string{"passerelle/"}, []string{"passerelle/appliance/config", "passerelle/appliance/hours", "passerelle/appliance/ledger", "passerelle/netctl"},
		"the decision is pure"},
	{"passerelle/appliance/config", []string{"passerelle/"}, []string{"passerelle/appliance/hours"},
		"a configuration is words, not what they do"},
	{"passerelle/appliance/hours", []string{"passerelle/"}, nil, "a leaf that anyone may use"},
	{"passerelle/appliance/ledger", []string{"passerelle/netctl/", "go.etcd.io/bbolt", "net/http", "os", "time/tzdata"}, nil,
		"accounts are pure"},
	{"passerelle/appliance/clock", []string{"passerelle/"}, nil, "what time is used for is no matter"},
	{"passerelle/appliance/store", []string{"passerelle/captive", "passerelle/netctl/", "passerelle/appliance/admin", "periph.io/"}, nil,
		"a file does not know what an account means"},
	{"passerelle/appliance/private", []string{"passerelle/"}, nil, "a leaf: a lock does not know what it is for"},
	{"passerelle/appliance/supervise", []string{"passerelle/netctl", "passerelle/netctl/", "passerelle/captive"}, nil,
		"processes, not what they are for"},
	{"passerelle/appliance/admin", []string{"passerelle/netctl/", "passerelle/captive", "go.etcd.io/bbolt", "os/exec", "periph.io/"}, nil,
		"pages ask for what they show and change, they do nothing themselves"},
	{"passerelle/captive", []string{"passerelle/netctl", "passerelle/netctl/", "go.etcd.io/bbolt", "os/exec"}, nil,
		"pages ask for sessions, they make none"},
	{"passerelle/captive/web", []string{"passerelle/"}, []string{"passerelle/appliance/hours"},
		"templates and words serve every page"},
	{"passerelle/captive/tutorials", []string{"passerelle/"}, []string{"passerelle/appliance/hours", "passerelle/appliance/private"},
		"a lesson does not know who reads it, on what page"},
	{"passerelle/captive/tutorials", []string{"net/http", "os/exec"}, nil, "handlers ask a library"},
	{"passerelle/netctl", []string{"passerelle/", "github.com/", "golang.org/"}, nil,
		"the vocabulary is the standard library's"},
	{"passerelle/netctl/plan", []string{"os/exec", "os", "github.com/vishvananda/netlink", "github.com/mdlayher/netlink", "passerelle/netctl/gate", "passerelle/captive"}, nil,
		"a plan is text from input"},
	{"passerelle/netctl/gate", []string{"passerelle/captive", "passerelle/appliance", "passerelle/appliance/"}, nil,
		"the kernel does not know why"},
	{"passerelle/netctl/uplink", []string{"passerelle/captive", "passerelle/appliance", "passerelle/appliance/"}, nil,
		"a line does not know who lends it"},
	{"passerelle/netctl/radio", []string{"passerelle/captive", "passerelle/appliance", "passerelle/appliance/", "os/exec"}, nil,
		"a radio does not know what its network is for"},
	{"passerelle/netctl/wpa", []string{"passerelle/", "os/exec", "net/http"}, nil,
		"a radio's program is spoken with, whoever started it and whatever for"},
	{"passerelle/hw", []string{"passerelle/netctl", "passerelle/netctl/", "passerelle/captive", "passerelle/captive/", "net", "os/exec"}, nil,
		"a light and a button move no packets"},
	{"passerelle/hw", []string{"periph.io/x/host/v3"}, nil, "its drivers for the Pi's chips take a Pi 5 for an older one"},
	{"passerelle/netctl/netlab", []string{"testing", "passerelle/netctl/gate", "passerelle/appliance", "passerelle/captive"}, nil,
		"worlds serve the demo as well as tests"},
	{"passerelle/netctl/netlab/hostile", []string{"testing", "passerelle/netctl/gate", "passerelle/appliance", "passerelle/captive"}, nil,
		"it knows protocols, not what is attacked"},
	{"passerelle/cmd/passerelle", []string{"passerelle/netctl/netlab/hostile"}, nil, "what is shipped attacks nobody"},
}

type listed struct {
	ImportPath    string
	Imports, Deps []string
}

func TestRoomsKeepApart(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "passerelle/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	rooms := map[string]listed{}
	for d := json.NewDecoder(bufio.NewReader(bytes.NewReader(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		rooms[p.ImportPath] = p
		if !strings.HasPrefix(p.ImportPath, "passerelle/cmd/") && slices.ContainsFunc(p.Imports, func(i string) bool { return strings.HasPrefix(i, "passerelle/cmd") }) {
			t.Errorf("%s imports a command: nothing does", p.ImportPath)
		}
	}
	matches := func(pattern, path string) bool {
		return path == pattern || strings.HasSuffix(pattern, "/") && strings.HasPrefix(path, pattern)
	}
	for _, b := range bans {
		room, ok := rooms[b.room]
		if !ok {
			t.Errorf("there is no room %s: its ban holds nothing", b.room)
		}
		for _, banned := range b.imports {
			seen := room.Imports
			if strings.HasPrefix(banned, "passerelle") {
				seen = room.Deps
			}
			for _, i := range seen {
				if matches(banned, i) && !slices.Contains(b.but, i) {
					t.Errorf("%s imports %s: %s", b.room, i, b.why)
				}
			}
		}
	}
}

// TestNoProxy: no HTTP client of the project's obeys the environment's proxy variables, as those of net/http that are ready
// made do.
func TestNoProxy(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", `{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}`, "passerelle/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	ready := []string{"DefaultClient", "DefaultTransport", "Get", "Head", "Post", "PostForm", "ProxyFromEnvironment"}
	isHTTP := func(e ast.Expr) (name string) {
		if s, ok := e.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "http" {
				return s.Sel.Name
			}
		}
		return ""
	}
	files := token.NewFileSet()
	for _, path := range strings.Fields(string(out)) {
		f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if name := isHTTP(n); slices.Contains(ready, name) {
					t.Errorf("%s: http.%s obeys proxy variables", files.Position(n.Pos()), name)
				}
			case *ast.CompositeLit:
				named := func(e ast.Expr) bool {
					kv, ok := e.(*ast.KeyValueExpr)
					if !ok {
						return false
					}
					key, ok := kv.Key.(*ast.Ident)
					return ok && key.Name == "Transport"
				}
				if isHTTP(n.Type) == "Client" && !slices.ContainsFunc(n.Elts, named) {
					t.Errorf("%s: a client without a transport of its own obeys proxy variables", files.Position(n.Pos()))
				}
			}
			return true
		})
	}
}
