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

// ban forbids a package an import. One of our packages is forbidden as an indirect import, too. A library is forbidden only in the
// package's own files, since a package that owns a type may need it.
type ban struct {
	room    string   // "passerelle/…", or with a trailing slash the room and those below it
	imports []string // likewise
	but     []string // packages exempt from the ban, or allowed as imports
	why     string
}

var bans = []ban{
	// The dependencies between the layers.
	{"passerelle/", []string{"passerelle/cmd/"}, []string{"passerelle/cmd/"},
		"nothing imports a command"},
	{"passerelle/netctl/", []string{"passerelle/appliance/", "passerelle/captive/", "passerelle/hw", "passerelle/image/"}, nil,
		"the network layer does not know its users"},
	{"passerelle/appliance/", []string{"passerelle/captive/"}, []string{"passerelle/appliance/daemon"},
		"the box works without its pages; only the daemon wires both"},
	{"passerelle/captive/", []string{"passerelle/appliance/"},
		[]string{"passerelle/appliance/hours", "passerelle/appliance/private", "passerelle/appliance/state", "passerelle/captive/admin", "passerelle/captive/admin/journal", "passerelle/captive/admin/login"},
		"pages read the box's public state, and lessons lock their packs"},
	{"passerelle/captive/", []string{"passerelle/netctl/", "go.etcd.io/bbolt", "os/exec", "periph.io/"}, nil,
		"pages read and change the box only through interfaces"},
	{"passerelle/hw", []string{"passerelle/", "net", "os/exec"}, []string{"passerelle/appliance/state"},
		"lights and buttons need no network"},
	{"passerelle/hw", []string{"periph.io/x/host/v3"}, nil, "its drivers mistake a Pi 5 for an older board"},
	{"passerelle/cmd/passerelle", []string{"passerelle/netctl/netlab/hostile"}, nil, "the shipped program has no attack code"},
	{"passerelle/cmd/passerelle/demo", []string{"passerelle/appliance/daemon", "passerelle/appliance/store", "passerelle/captive/", "passerelle/netctl/gate", "testing"}, nil,
		"the demo sees the box only from outside"},
	{"passerelle/cmd/attack", []string{"go.etcd.io/bbolt"}, nil, "an attacker has no access to the ledger"},
	{"passerelle/cmd/bench", []string{"testing"}, nil, "a benchmark is a program"},
	{"passerelle/cmd/fleetdemo", []string{"passerelle/appliance/daemon", "passerelle/appliance/store", "testing"}, nil,
		"it sees boxes only from outside"},
	{"passerelle/cmd/internal/box", []string{"testing"}, nil, "attacks and benchmarks run a box with it"},
	{"passerelle/cmd/internal/cluster", []string{"passerelle/appliance/daemon", "passerelle/appliance/store", "testing"}, nil,
		"it sees boxes and hubs only from outside"},
	{"passerelle/cmd/internal/cli", []string{"passerelle/", "os", "os/exec", "net"}, nil, "it does not know what a command does"},
	{"passerelle/image/vm/outside", []string{"passerelle/"}, nil, "it sees the box only in a browser"},
	{"passerelle/image/intake", []string{"passerelle/", "os/exec", "net"},
		[]string{"passerelle/appliance/config", "passerelle/appliance/hours", "passerelle/appliance/private"},
		"it checks a file and answers it; what is done with a configuration is passed to it"},
	{"passerelle/image/slot", []string{"passerelle/", "os/exec", "net"}, nil, "it knows neither what is in a slot nor when a box works"},
	{"passerelle/image/update", []string{"passerelle/", "os/exec", "net", "net/http"},
		[]string{"passerelle/appliance/fleet/rollout", "passerelle/appliance/fleet/trust", "passerelle/appliance/private", "passerelle/image/slot", "passerelle/image/update/plan"},
		"it knows neither who delivers a release nor which slot is booted"},
	{"passerelle/image/update/agent", []string{"passerelle/", "os/exec", "net/http"},
		[]string{"passerelle/appliance/fleet/rollout", "passerelle/appliance/fleet/trust", "passerelle/appliance/fleet/mirror", "passerelle/appliance/private", "passerelle/image/slot", "passerelle/image/stick", "passerelle/image/update", "passerelle/image/update/plan"},
		"it has the card's rights: it asks the daemon for files, and fetches none"},
	{"passerelle/image/update/plan", []string{"passerelle/", "os", "os/exec", "net", "net/http"}, []string{"passerelle/appliance/fleet/rollout"}, "a plan is pure"},
	{"passerelle/image/update/pack", []string{"passerelle/", "os", "os/exec", "net"}, []string{"passerelle/appliance/fleet/rollout", "passerelle/image/update/plan"},
		"it makes a release and does not know who signs it"},
	{"passerelle/image/update/offer", []string{"passerelle/", "os", "os/exec", "net"},
		[]string{"passerelle/appliance/fleet/", "passerelle/appliance/private", "passerelle/image/update/pack", "passerelle/image/update/plan"},
		"it makes what people sign, and does not know their keys"},
	{"passerelle/image/proof", []string{"passerelle/appliance/daemon", "passerelle/appliance/store", "passerelle/captive/", "passerelle/hw",
		"passerelle/netctl/gate", "passerelle/netctl/uplink", "os/exec"}, nil, "it judges a system from outside its daemon"},
	{"passerelle/image/stick", []string{"passerelle/", "os/exec"}, nil, "it does not know what is in a backup, nor when one is made"},
	{"passerelle/image/modem", []string{"passerelle/", "os/exec", "net"}, nil, "it knows no configuration: who starts it runs the tools, and says what a SIM needs"},
	{"passerelle/image", []string{"passerelle/"}, nil, "a text that tests read"},
	{"passerelle/image/check", []string{"passerelle/"}, nil, "it sees the image only from outside"},
	{"passerelle/image/describe", []string{"passerelle/"}, nil, "it knows what an image was made of, not what the box does"},
	{"passerelle/image/vm/guest", []string{"passerelle/captive/", "go.etcd.io/bbolt"}, nil, "it sees the box only from outside"},

	// The packages of the appliance.
	{"passerelle/appliance", []string{"github.com/vishvananda/netlink", "github.com/mdlayher/netlink", "go.etcd.io/bbolt", "net/http", "os/exec", "periph.io/"}, nil,
		"the loop works through interfaces, so that it can be tested without a kernel"},
	{"passerelle/appliance", []string{"passerelle/netctl/gate"}, nil, "the loop sees the kernel through an interface"},
	{"passerelle/appliance/backup", []string{"passerelle/", "net", "os/exec"}, []string{"passerelle/appliance/private"},
		"it does not know what is in the files of a backup"},
	{"passerelle/appliance/bindings", []string{"github.com/vishvananda/netlink", "os", "os/exec"}, nil,
		"bindings are computed from observed events"},
	{"passerelle/appliance/clock", []string{"passerelle/"}, nil, "it does not know what time is used for"},
	{"passerelle/appliance/config", []string{"passerelle/"}, []string{"passerelle/appliance/hours"},
		"a configuration is data, without behaviour"},
	{"passerelle/appliance/control", []string{"passerelle/", "os/exec"}, []string{"passerelle/appliance/state", "passerelle/appliance/config", "passerelle/appliance/hours"},
		"a client of the socket does not link the box"},
	{"passerelle/appliance/daemon", []string{"flag", "github.com/vishvananda/netlink", "github.com/mdlayher/netlink", "go.etcd.io/bbolt"}, nil,
		"it only wires parts, and the command parses flags"},
	{"passerelle/appliance/decide", []string{"passerelle/"}, []string{"passerelle/appliance/state"},
		"the decision is pure"},
	{"passerelle/", []string{"github.com/nats-io/nats-server/v2/"}, []string{"passerelle/cmd/hub/node"},
		"a box has no server, which would double its program"},
	{"passerelle/", []string{"github.com/nats-io/nats.go/jetstream", "github.com/nats-io/jwt/v2"}, []string{"passerelle/cmd/hub/"},
		"consumers and watchers cost 5 MB a day for each box, and only hubs sign tokens"},
	{"passerelle/appliance/fleet", []string{"passerelle/", "net/http", "os/exec"}, []string{"passerelle/appliance/fleet/protocol", "passerelle/appliance/private"},
		"what it delivers means nothing to it, and the box is passed to it"},
	{"passerelle/appliance/fleet/protocol", []string{"passerelle/", "github.com/", "net", "net/http", "os", "os/exec"}, nil,
		"what two programs agree on needs neither"},
	{"passerelle/cmd/hub/", []string{"passerelle/"},
		[]string{"passerelle/cmd/hub/", "passerelle/appliance/fleet/protocol", "passerelle/appliance/fleet/report", "passerelle/appliance/fleet/command", "passerelle/appliance/fleet/rollout",
			"passerelle/appliance/private", "passerelle/appliance/state", "passerelle/captive/findings", "passerelle/captive/web", "passerelle/appliance/hours"},
		"a hub knows of boxes only what both agree on, and has the frame of their pages"},
	{"passerelle/cmd/hub/alerts", []string{"passerelle/", "os", "os/exec"},
		[]string{"passerelle/cmd/hub/authority", "passerelle/cmd/hub/registry", "passerelle/cmd/hub/survey", "passerelle/appliance/fleet/protocol",
			"passerelle/appliance/fleet/report", "passerelle/appliance/fleet/rollout", "passerelle/appliance/fleet/command", "passerelle/appliance/private", "passerelle/appliance/state"},
		"it tells of a survey, and remembers through an interface"},
	{"passerelle/cmd/hub/attempts", []string{"passerelle/", "os", "net/http"}, nil, "it counts, and does not know what a code opens"},
	{"passerelle/cmd/hub/dashboard", []string{"passerelle/", "os", "os/exec"},
		[]string{"passerelle/cmd/hub/attempts", "passerelle/cmd/hub/authority", "passerelle/cmd/hub/registry", "passerelle/cmd/hub/stages", "passerelle/cmd/hub/survey",
			"passerelle/appliance/fleet/protocol", "passerelle/appliance/fleet/report", "passerelle/appliance/fleet/command", "passerelle/appliance/fleet/rollout",
			"passerelle/appliance/private", "passerelle/appliance/state", "passerelle/captive/findings", "passerelle/captive/web", "passerelle/appliance/hours"},
		"pages show a survey, and know no server"},
	{"passerelle/cmd/hub/metrics", []string{"passerelle/", "os", "os/exec"},
		[]string{"passerelle/cmd/hub/authority", "passerelle/cmd/hub/registry", "passerelle/cmd/hub/survey", "passerelle/appliance/fleet/protocol",
			"passerelle/appliance/fleet/report", "passerelle/appliance/fleet/rollout", "passerelle/appliance/fleet/command", "passerelle/appliance/private", "passerelle/appliance/state"},
		"it shows a survey, and nothing else"},
	{"passerelle/cmd/hub/stages", []string{"passerelle/", "os", "os/exec", "net/http"},
		[]string{"passerelle/cmd/hub/authority", "passerelle/cmd/hub/registry", "passerelle/cmd/hub/survey", "passerelle/appliance/fleet/protocol",
			"passerelle/appliance/fleet/report", "passerelle/appliance/fleet/rollout", "passerelle/appliance/fleet/command", "passerelle/appliance/private", "passerelle/appliance/state"},
		"it judges a survey, and keeps a roll-out through an interface"},
	{"passerelle/cmd/hub/survey", []string{"passerelle/", "os", "os/exec", "net/http"},
		[]string{"passerelle/cmd/hub/authority", "passerelle/cmd/hub/registry", "passerelle/appliance/fleet/protocol",
			"passerelle/appliance/fleet/report", "passerelle/appliance/fleet/rollout", "passerelle/appliance/fleet/command", "passerelle/appliance/private", "passerelle/appliance/state"},
		"it judges what it is told"},
	{"passerelle/cmd/hub/authority", []string{"os", "os/exec", "net/http", "github.com/nats-io/nats.go"}, nil, "keys and tokens are made, not stored or sent"},
	{"passerelle/cmd/hub/node", []string{"passerelle/"}, []string{"passerelle/cmd/hub/authority", "passerelle/appliance/fleet/protocol", "passerelle/appliance/fleet/rollout"},
		"a server does not know what messages mean"},
	{"passerelle/cmd/hub/registrar", []string{"passerelle/", "os", "os/exec", "net/http"}, []string{"passerelle/appliance/fleet/protocol", "passerelle/cmd/hub/attempts"},
		"it limits questions, and does not know how they are answered"},
	{"passerelle/cmd/hub/registry", []string{"passerelle/", "os", "os/exec", "net/http"},
		[]string{"passerelle/cmd/hub/authority", "passerelle/appliance/fleet/protocol", "passerelle/appliance/fleet/rollout"}, "it knows neither commands nor servers"},
	{"passerelle/appliance/fleet/trust", []string{"passerelle/", "net", "net/http", "os/exec"}, []string{"passerelle/appliance/private"},
		"it verifies what anybody may deliver"},
	{"passerelle/appliance/fleet/layer", []string{"passerelle/", "os", "os/exec", "net/http"}, []string{"passerelle/appliance/config", "passerelle/appliance/hours"},
		"a merge is pure, and does not know who signed or delivered"},
	{"passerelle/appliance/fleet/content", []string{"passerelle/", "net", "net/http", "os/exec"}, []string{"passerelle/appliance/fleet/trust", "passerelle/appliance/private"},
		"it brings files, and knows neither who delivers them nor what they are for"},
	{"passerelle/appliance/fleet/handouts", []string{"passerelle/", "net", "net/http", "os/exec"},
		[]string{"passerelle/appliance/config", "passerelle/appliance/fleet/content", "passerelle/appliance/fleet/layer", "passerelle/appliance/fleet/trust",
			"passerelle/appliance/hours", "passerelle/appliance/private", "passerelle/appliance/state"},
		"it decides what becomes of files, and neither who delivers them nor how they are imported"},
	{"passerelle/appliance/fleet/command", []string{"passerelle/", "os", "net", "net/http"}, []string{"passerelle/appliance/fleet/protocol"},
		"the rules of commands are pure"},
	{"passerelle/appliance/fleet/report", []string{"passerelle/", "net/http", "os/exec"}, []string{"passerelle/appliance/fleet/protocol", "passerelle/appliance/private", "passerelle/appliance/state"},
		"a report knows nothing of the configuration, nor who takes it"},
	{"passerelle/appliance/fleet/rollout", []string{"passerelle/", "os", "net", "net/http"}, nil,
		"whether a release waits is a pure function of what was signed"},
	{"passerelle/appliance/fleet/mirror", []string{"passerelle/", "os", "os/exec"}, nil, "it delivers, and believes nothing"},
	{"passerelle/appliance/fleet/updates", []string{"passerelle/", "os", "net"},
		[]string{"passerelle/appliance/hours", "passerelle/appliance/state"}, "when an update is due is a pure function of facts"},
	{"passerelle/appliance/fleet/repository", []string{"passerelle/", "net", "os/exec"}, []string{"passerelle/appliance/fleet/trust", "passerelle/appliance/private"},
		"signers work offline, and what they sign means nothing to it"},
	{"passerelle/cmd/passerelle", []string{"passerelle/appliance/fleet/repository", "passerelle/image/update/offer", "passerelle/image/update/pack"}, nil, "a box never signs"},
	{"passerelle/cmd/release", []string{"passerelle/", "net", "net/http"},
		[]string{"passerelle/appliance/fleet/", "passerelle/appliance/private", "passerelle/cmd/internal/cli", "passerelle/image/slot", "passerelle/image/update/offer", "passerelle/image/update/pack", "passerelle/image/update/plan"},
		"it runs on signers' machines"},
	{"passerelle/appliance/doctor", []string{"passerelle/", "os", "os/exec", "net", "net/http", "github.com/vishvananda/netlink"},
		[]string{"passerelle/appliance/state", "passerelle/netctl", "passerelle/netctl/dhcp", "passerelle/netctl/names", "passerelle/netctl/nlmsg", "passerelle/netctl/uplink"},
		"it judges facts that it is passed, so that each fault can be tried without a kernel"},
	{"passerelle/appliance/fetch", []string{"passerelle/", "os/exec", "github.com/vishvananda/netlink"},
		[]string{"passerelle/appliance/private", "passerelle/appliance/state", "passerelle/netctl", "passerelle/netctl/names"},
		"it is told which line to use, and does not know what it downloads"},
	{"passerelle/appliance/health", []string{"passerelle/"}, []string{"passerelle/appliance/state"},
		"it is passed its inputs, and needs neither the loop nor the pages"},
	{"passerelle/appliance/hours", []string{"passerelle/"}, nil, "a leaf that anyone may use"},
	{"passerelle/appliance/lab", []string{"testing", "passerelle/appliance/daemon", "passerelle/appliance/store", "passerelle/captive/"}, nil,
		"the demo, benchmarks and attacks run a box with it, from outside"},
	{"passerelle/appliance/metrics", []string{"passerelle/", "os", "os/exec"}, []string{"passerelle/appliance/state"},
		"it is passed a Status, and shows nothing else"},
	{"passerelle/appliance/ledger", []string{"passerelle/netctl/", "go.etcd.io/bbolt", "net/http", "os", "time/tzdata"}, []string{"passerelle/netctl"},
		"accounts are pure"},
	{"passerelle/appliance/logbook", []string{"passerelle/", "os", "os/exec", "net/http"}, []string{"passerelle/appliance/state"},
		"it keeps lines in memory, and nowhere else"},
	{"passerelle/appliance/plan/", []string{"os/exec", "os", "github.com/vishvananda/netlink", "github.com/mdlayher/netlink"}, nil,
		"a plan is a pure function of its input"},
	{"passerelle/appliance/plan", []string{"passerelle/netctl/gate"}, nil, "a plan is a pure function of its input"},
	{"passerelle/appliance/private", []string{"passerelle/"}, nil, "a leaf: a lock does not know what it is for"},
	{"passerelle/appliance/radios", []string{"os/exec", "net/http", "passerelle/netctl/gate"}, nil,
		"it starts no program: the loop runs hostapd from its result"},
	{"passerelle/appliance/state", []string{"passerelle/", "net/http", "os"}, nil,
		"a leaf: pages, lights and clients read it without the loop"},
	{"passerelle/appliance/store", []string{"passerelle/netctl/", "periph.io/"}, []string{"passerelle/netctl"}, "it stores accounts, and does not interpret them"},
	{"passerelle/appliance/support", []string{"passerelle/", "os", "os/exec", "net/http"},
		[]string{"passerelle/appliance/config", "passerelle/appliance/hours", "passerelle/appliance/logbook", "passerelle/appliance/state"},
		"it reads nothing by itself, so that what it is passed is all that it can tell"},
	{"passerelle/appliance/supervise", []string{"passerelle/netctl/"}, nil, "it does not know what processes are for"},

	// The packages of the pages.
	{"passerelle/captive/web/", []string{"passerelle/"}, []string{"passerelle/appliance/hours", "passerelle/appliance/private"},
		"templates and words serve every page, and the box's certificate is a file"},
	{"passerelle/captive/search", []string{"passerelle/", "net/http", "os"}, nil,
		"words are compared and ranked without knowing what they are about"},
	{"passerelle/captive/places/directory", []string{"passerelle/"},
		[]string{"passerelle/appliance/hours", "passerelle/appliance/private", "passerelle/captive/search"},
		"a place does not know its pages or readers"},
	{"passerelle/captive/places/directory", []string{"net/http", "os/exec"}, nil, "handlers query a directory"},
	{"passerelle/captive", []string{"passerelle/captive/tutorials/", "passerelle/captive/places/", "passerelle/captive/voice/", "passerelle/captive/lend", "passerelle/captive/admin"}, nil,
		"shares are passed to it: adding one touches its folder and the line that mounts it"},
	{"passerelle/captive/tutorials", []string{"passerelle/"},
		[]string{"passerelle/captive/tutorials/lessons", "passerelle/captive/search", "passerelle/captive/web", "passerelle/appliance/hours", "passerelle/appliance/private"},
		"a share knows the frame and its own data, not the box or its server"},
	{"passerelle/captive/tutorials/lessons", []string{"passerelle/"},
		[]string{"passerelle/appliance/hours", "passerelle/appliance/private", "passerelle/captive/search"},
		"a lesson does not know its pages or readers"},
	{"passerelle/captive/tutorials/lessons", []string{"net/http"}, nil, "handlers query a library"},
	{"passerelle/captive/places", []string{"passerelle/"},
		[]string{"passerelle/captive/places/directory", "passerelle/captive/places/needs", "passerelle/captive/tutorials/lessons",
			"passerelle/captive/search", "passerelle/captive/web", "passerelle/appliance/hours", "passerelle/appliance/private"},
		"a share knows the frame and its own data, and which lessons there are, not the box or its server"},
	{"passerelle/captive/places/needs", []string{"passerelle/", "net/http"}, []string{"passerelle/appliance/private"},
		"its caller says which lessons, places and numbers exist"},
	{"passerelle/captive/findings", []string{"passerelle/", "net", "net/http", "os"}, []string{"passerelle/captive/web", "passerelle/appliance/hours", "passerelle/appliance/private"},
		"words for what is found, on a box's pages and on a hub's"},
	{"passerelle/captive/lend", []string{"passerelle/"}, []string{"passerelle/captive/web", "passerelle/appliance/hours", "passerelle/appliance/private"},
		"an offer knows neither the box nor its configuration"},
	{"passerelle/captive/lend", []string{"os", "os/exec", "log/slog"}, nil, "what waits is in memory, and in no log"},
	{"passerelle/captive/poster", []string{"passerelle/"}, []string{"passerelle/captive/web", "passerelle/appliance/hours", "passerelle/appliance/private"},
		"it is told what a box is called"},
	{"passerelle/captive/poster", []string{"net", "net/http", "os", "os/exec"}, nil, "its callers show or write what it makes"},
	{"passerelle/captive/records", []string{"passerelle/", "net/http"}, []string{"passerelle/appliance/private"},
		"it does not know what is in its files"},
	{"passerelle/captive/voice", []string{"passerelle/"},
		[]string{"passerelle/captive/voice/agenda", "passerelle/captive/voice/board", "passerelle/captive/voice/opinion",
			"passerelle/captive/voice/week", "passerelle/captive/search", "passerelle/captive/web", "passerelle/captive/records",
			"passerelle/appliance/hours", "passerelle/appliance/private", "passerelle/appliance/state"},
		"a share knows the frame and its own data, not the box or its server"},
	{"passerelle/captive/voice/agenda", []string{"passerelle/"},
		[]string{"passerelle/appliance/private", "passerelle/captive/records"}, "an agenda does not know its pages or readers"},
	{"passerelle/captive/voice/agenda", []string{"net/http", "os/exec"}, nil, "calendars are passed to it, and handlers query it"},
	{"passerelle/captive/voice/board", []string{"passerelle/", "net", "os"}, []string{"passerelle/captive/voice/week"},
		"posts do not know devices, pages or files"},
	{"passerelle/captive/voice/opinion", []string{"passerelle/", "net", "os"}, []string{"passerelle/captive/voice/week"},
		"counts do not know devices, pages or files"},
	{"passerelle/captive/voice/week", []string{"passerelle/"}, nil, "a leaf"},
	{"passerelle/captive/admin", []string{"passerelle/appliance/"},
		[]string{"passerelle/appliance/config", "passerelle/appliance/hours", "passerelle/appliance/private", "passerelle/appliance/state"},
		"technicians' pages edit the configuration, and reach the box only through interfaces"},
	{"passerelle/captive/admin/guide", []string{"passerelle/", "net/http", "os"},
		[]string{"passerelle/captive/web", "passerelle/captive/search", "passerelle/appliance/hours", "passerelle/appliance/private", "passerelle/appliance/state", "passerelle/hw"},
		"it says what light, button and law are, and does not know the box"},
	{"passerelle/captive/admin/journal", []string{"passerelle/", "net", "net/http"},
		[]string{"passerelle/captive/records", "passerelle/appliance/config", "passerelle/appliance/hours", "passerelle/appliance/private"},
		"it has no address of anybody, and does not know who reads it"},
	{"passerelle/captive/admin/months", []string{"passerelle/", "net/http"},
		[]string{"passerelle/appliance/state", "passerelle/appliance/private", "passerelle/captive/records"},
		"it counts by month, and does not know who reads it"},
	{"passerelle/captive/admin/refusals", []string{"passerelle/", "net", "net/http"},
		[]string{"passerelle/captive/records", "passerelle/appliance/state", "passerelle/appliance/private"},
		"it has sums, and no address of anybody"},
	{"passerelle/captive/admin/login", []string{"passerelle/"},
		[]string{"passerelle/captive/records", "passerelle/captive/web", "passerelle/appliance/config", "passerelle/appliance/hours", "passerelle/appliance/private"},
		"it does not know what a login opens, nor its pages"},
	{"passerelle/captive/admin", []string{"passerelle/captive/tutorials/"}, nil, "lenders' pages show no lessons"},

	// The packages of netctl.
	{"passerelle/netctl", []string{"passerelle/", "github.com/", "golang.org/"}, nil,
		"the vocabulary needs only the standard library"},
	{"passerelle/netctl/arp", []string{"passerelle/netctl/gate", "os/exec", "net/http"}, nil, "it implements one protocol"},
	{"passerelle/netctl/autorate", []string{"passerelle/", "github.com/", "golang.org/", "net", "os", "os/exec", "syscall"}, nil,
		"the law is a pure function of what it is told, so that a simulator can try it"},
	{"passerelle/netctl/autorate/sim", []string{"passerelle/", "github.com/", "golang.org/", "net", "os", "os/exec", "testing"},
		[]string{"passerelle/netctl/autorate"}, "lines are simulated without a kernel, and benchmarks do it, too"},
	{"passerelle/netctl/dhcp", []string{"passerelle/", "os/exec", "net/http"}, nil, "it implements one protocol"},
	{"passerelle/netctl/gate", []string{"passerelle/netctl/uplink", "net/http"}, nil, "rules do not depend on health checks"},
	{"passerelle/netctl/names", []string{"passerelle/netctl/gate", "os/exec"}, nil, "it queries DNS servers, it starts none"},
	{"passerelle/netctl/nlmsg", []string{"passerelle/", "os"}, nil, "it does not know what messages are for"},
	{"passerelle/netctl/radio", []string{"os/exec"}, nil, "radios are read by netlink"},
	{"passerelle/netctl/uplink", []string{"passerelle/netctl/gate", "os/exec"}, nil, "health checks do not depend on rules"},
	{"passerelle/netctl/wpa", []string{"passerelle/", "os/exec", "net/http"}, nil,
		"it speaks to hostapd and wpa_supplicant, and does not start them"},
	{"passerelle/netctl/netlab", []string{"testing", "passerelle/netctl/gate"}, nil, "the demo uses it, too"},
	{"passerelle/netctl/netlab/hostile", []string{"testing", "passerelle/netctl/gate"}, nil,
		"it knows protocols, not its targets"},
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
	}
	matches := func(pattern, path string) bool {
		return path == strings.TrimSuffix(pattern, "/") || strings.HasSuffix(pattern, "/") && strings.HasPrefix(path, pattern)
	}
	matchesAny := func(patterns []string, path string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, path) })
	}
	own := map[string]bool{} // packages with their own row
	for _, b := range bans {
		found := false
		for path, room := range rooms {
			if !matches(b.room, path) {
				continue
			}
			found, own[path] = true, own[path] || strings.TrimSuffix(b.room, "/") == path
			if matchesAny(b.but, path) {
				continue
			}
			for _, banned := range b.imports {
				seen := room.Imports
				if strings.HasPrefix(banned, "passerelle") {
					seen = room.Deps
				}
				for _, i := range seen {
					if matches(banned, i) && !matchesAny(b.but, i) {
						t.Errorf("%s imports %s: %s", path, i, b.why)
					}
				}
			}
		}
		if !found {
			t.Errorf("no room %s: its ban has no effect", b.room)
		}
	}
	for path := range rooms {
		if !own[path] && !strings.HasSuffix(path, "test") {
			t.Errorf("%s has no row", path)
		}
	}
}

// TestNoProxy: no HTTP client of ours uses the environment's proxy variables, as the default clients of net/http do.
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
