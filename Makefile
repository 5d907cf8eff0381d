# Three commands set everything up by themselves on a fresh Debian with Go, as root:
#   make demo    plays the whole story in network namespaces
#   make test    checks and tests everything that this machine's own kernel can
#   make test-vm tests radio, button, light and queues on Debian's kernel in a virtual machine
# CI does both tests, and make attack between them.

GO ?= go
export CGO_ENABLED = 0

# What the box and its tests run, as Debian packages. A tool that is there needs no package.
TOOLS = iptables:iptables nft:nftables dnsmasq:dnsmasq-base ip:iproute2 busybox:busybox
TEST_TOOLS = $(TOOLS) ipset:ipset hostapd:hostapd wpa_supplicant:wpasupplicant chromium:chromium \
	unshare:util-linux dhcpcd:dhcpcd-base dhclient:isc-dhcp-client NetworkManager:network-manager dbus-daemon:dbus-daemon \
	/lib/systemd/systemd-networkd:systemd wget:wget curl:curl aria2c:aria2 git:git traceroute:traceroute
AXE = bin/axe.min.js
VM_TOOLS = qemu-system-x86_64:qemu-system-x86 mmdebstrap:mmdebstrap mksquashfs:squashfs-tools cpio:cpio xz:xz-utils \
	gcc:gcc make:make flock:util-linux

.PHONY: build demo test test-vm unit root attack histories lint fuzz bench cross tools test-tools vm-tools clean

build:
	$(GO) build -trimpath -o bin/passerelle ./cmd/passerelle

demo: tools build
	bin/passerelle demo $(DEMO)

# The tiers: what needs no root, then the real kernel, dnsmasq, DHCP clients and browser.
test: test-tools lint cross unit root

unit:
	$(GO) test ./...

# The packages that declare -root, where nothing is skipped in silence; one after the other, since they measure rates. Within
# one, tests mostly wait: twice as many as there are cores run at a time.
# What the pages looked like is left in screenshots/.
root:
	SCREENSHOTS=$(CURDIR)/screenshots $(GO) test -count=1 -p 1 -parallel $$((2 * $$(nproc))) -timeout 20m $$($(GO) list -f '{{$$p := .ImportPath}}{{range .XTestImports}}{{if eq . "passerelle/netctl/netlab/labtest"}}{{$$p}}{{"\n"}}{{end}}{{end}}{{range .TestImports}}{{if eq . "passerelle/netctl/netlab/labtest"}}{{$$p}}{{"\n"}}{{end}}{{end}}' ./... | sort -u) -args -root

# What people in bad faith do to the box, as one table; ATTACK='-only NAME' for some of it. It measures waiting: the machine
# should do nothing else.
attack: tools
	$(GO) run ./cmd/attack $(ATTACK)

# The lender's promise in many more random histories than in a test: crashes, power cuts, clocks that jump.
HISTORIES ?= 1000000
histories:
	$(GO) test ./appliance/ledger -count=1 -timeout 12h -run '^TestPromise$$' -args -histories $(HISTORIES)

# Radio, button, light and queues, on Debian's kernel in a virtual machine; RUN=NAME for some of its tests.
test-vm: vm-tools
	GO=$(GO) vm/run $(if $(RUN),-test.run '$(RUN)')

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt would change these files'; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	@$(GO) tool govulncheck ./... || { test $$? -ne 3 || exit 1; echo 'govulncheck could not reach its data: nothing was checked for known holes'; }

cross:
	GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null ./cmd/passerelle
	GOOS=linux GOARCH=arm GOARM=6 $(GO) build -o /dev/null ./cmd/passerelle

# Each parser for a moment; FUZZTIME=10m for a night.
FUZZTIME ?= 20s
fuzz:
	@$(GO) list ./... | while read p; do \
		for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
			echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; \
		done; \
	done

# The side-by-side table. The machine should do nothing else. BENCH='-beside FILE' holds the daemon against another build.
bench: tools
	$(GO) run ./cmd/bench $(BENCH)

tools:
	@.ci/tools $(TOOLS)

test-tools: $(AXE)
	@.ci/tools $(TEST_TOOLS)

# What looks for barriers on pages; only the tests need it. npm holds it to the checksum of .ci/axe.
$(AXE): .ci/axe/package.json .ci/axe/package-lock.json
	@.ci/tools npm:npm
	mkdir -p bin/axe
	cp $^ bin/axe
	npm ci --silent --prefix bin/axe --ignore-scripts --no-audit --no-fund
	cp bin/axe/node_modules/axe-core/axe.min.js $@

vm-tools:
	@.ci/tools $(VM_TOOLS)

clean:
	rm -rf bin
