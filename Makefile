# Each of these three commands installs what it needs on a fresh Debian with Go, as root:
#   make demo    plays the whole story of a box in network namespaces
#   make test    checks and tests everything that this machine's own kernel can
#   make test-vm tests radio, button, light and queues on Debian's kernel in a virtual machine
# make deb builds Debian packages, and make test-deb tests them.
# make image builds the image of a card for Raspberry Pi, and make test-image boots it in emulated boards.
# CI runs make test, make test-vm and make test-deb, and the longer checks: make cross, make race, make fuzz, make attack, make test-image-ci.

GO ?= go
export CGO_ENABLED = 0

# The programs that the box and its tests run, with their Debian packages. A program that is installed needs no package.
TOOLS = iptables:iptables nft:nftables dnsmasq:dnsmasq-base ip:iproute2 busybox:busybox
TEST_TOOLS = $(TOOLS) ipset:ipset hostapd:hostapd wpa_supplicant:wpasupplicant chromium:chromium \
	/usr/lib/chromium/chromium-headless-shell:chromium-headless-shell unshare:util-linux dhcpcd:dhcpcd-base dhclient:isc-dhcp-client \
	NetworkManager:network-manager dbus-daemon:dbus-daemon /lib/systemd/systemd-networkd:systemd systemd-analyze:systemd \
	wget:wget curl:curl aria2c:aria2 git:git traceroute:traceroute pdftoppm:poppler-utils strace:strace
AXE = bin/axe.min.js
# What the race detector needs for linking.
RACE_TOOLS = gcc:gcc /usr/include/stdlib.h:libc6-dev
VM_TOOLS = qemu-system-x86_64:qemu-system-x86 mmdebstrap:mmdebstrap mksquashfs:squashfs-tools cpio:cpio xz:xz-utils \
	modprobe:kmod gcc:gcc make:make flock:util-linux chromium:chromium ip:iproute2

DEB_TEST_TOOLS = mmdebstrap:mmdebstrap systemd-nspawn:systemd-container lintian:lintian ip:iproute2 \
	unshare:util-linux
IMAGE_TOOLS = curl:curl git:git \
	mksquashfs:squashfs-tools mkimage:u-boot-tools depmod:kmod mkfs.vfat:dosfstools mcopy:mtools mke2fs:e2fsprogs sfdisk:fdisk \
	zstd:zstd cpio:cpio xz:xz-utils flock:util-linux
IMAGE_TEST_TOOLS = qemu-system-aarch64:qemu-system-arm /usr/share/qemu/qemu_vga.ndrv:qemu-system-data \
	dumpimage:u-boot-tools zstd:zstd mcopy:mtools mkfs.vfat:dosfstools mksquashfs:squashfs-tools flock:util-linux ip:iproute2 iptables:iptables dnsmasq:dnsmasq-base \
	busybox:busybox chromium:chromium

.PHONY: build demo demo-fleet deb facts pictures test test-deb test-vm image image-lock test-image-twice test-image test-image-long test-image-ci plain unit race root root-box root-beside pages \
	attack histories lint fuzz bench bench-hub cross tools \
	test-tools race-tools deb-test-tools vm-tools image-tools image-test-tools clean

build:
	$(GO) build -trimpath -o bin/passerelle ./cmd/passerelle

demo: tools build
	bin/passerelle demo $(DEMO)

# The story of a fleet: three hubs, two boxes behind NAT, 1,298 simulated ones. It measures, so nothing else should run on the machine.
# FLEET='--growth --plot FILE' measures 130, 1,300 and 5,000 boxes instead.
demo-fleet: tools
	$(GO) run ./cmd/fleetdemo $(FLEET)

# The tutorials whose facts have not been looked up for two years.
facts:
	@$(GO) run ./cmd/passerelle tutorials list --stale

# README's pictures: the first page in a browser, and the light of each State.
pictures: test-tools
	SHOTS=$(CURDIR)/cmd/passerelle/pictures $(GO) test ./captive -count=1 -run TestPressWithoutScripts -args -root
	$(GO) test ./captive/admin/guide -count=1 -run TestPicture -args -update

# The resources that hubs use, also while they distribute a release as large as an image, and whether they lose a report. It takes some 17
# minutes, and nothing else should run on the machine.
bench-hub:
	$(GO) test ./cmd/hub -count=1 -v -timeout 30m -run '^TestLoad$$' -args -load 200
	$(GO) test ./cmd/hub -count=1 -v -timeout 30m -run '^TestRelease$$' -args -release 190
	$(GO) test ./cmd/hub -count=1 -v -timeout 60m -run '^TestCrowd$$' -args -crowd 1298 -crowd-hubs 3
	$(GO) test ./cmd/hub -count=1 -v -timeout 60m -run '^TestKills$$/three' -args -kills 250

# Debian packages in bin/deb; DEB=arm64 for one of the architectures.
deb:
	GO=$(GO) image/deb/build bin/deb $(DEB)
	GO=$(GO) cmd/hub/deb/build bin/deb $(DEB)

# The tests of a tier. lint has already run vet, and there is enough memory to collect garbage less often. The daemon, whose memory is
# measured, sets its own GOGC.
TEST = GOGC=400 $(GO) test -vet=off

# The packages that declare -root.
ROOT_PACKAGES = $(GO) list -f '{{$$p := .ImportPath}}{{range .XTestImports}}{{if eq . "passerelle/netctl/netlab/labtest"}}{{$$p}}{{"\n"}}{{end}}{{end}}{{range .TestImports}}{{if eq . "passerelle/netctl/netlab/labtest"}}{{$$p}}{{"\n"}}{{end}}{{end}}' ./... | sort -u | grep .

# The tiers: the packages that need no root, then the others, with the real kernel, dnsmasq, DHCP clients and browser.
test: test-tools lint plain root

plain:
	$(TEST) $$($(GO) list ./... | grep -vxF "$$($(ROOT_PACKAGES))")

# The tests of every package that need no root.
unit:
	$(GO) test ./...

# The unit tests with the race detector, which needs C. hours and ledger are pure and start no goroutine. bbolt reads pages through
# pointers, which Go's own pointer check refuses on a damaged page. The store's tests have such pages.
race: race-tools
	CGO_ENABLED=1 $(GO) test -race $$($(GO) list ./... | grep -vE 'appliance/(store|hours|ledger)$$')
	CGO_ENABLED=1 $(GO) test -race -gcflags=all=-d=checkptr=0 ./appliance/store

# The packages that declare -root; no test is skipped silently. Those of netctl measure rates, so they run one after the other. Then the
# box's own tests run, which mostly wait, and the other packages run beside them at a lower priority, one after the other as well: more
# browsers at a time only make each test take longer than it should wait. Within one package twice as many tests as there are cores run
# at a time. Screenshots of the pages are left in screenshots/.
ROOT_TEST = SCREENSHOTS=$(CURDIR)/screenshots $(TEST) -count=1 -parallel $$((2 * $$(nproc))) -timeout 30m
BOX = passerelle/cmd/passerelle
root:
	@mkdir -p screenshots
	$(ROOT_TEST) -p 1 $$($(ROOT_PACKAGES) | grep /netctl/) -args -root
	$(MAKE) -j 2 root-box root-beside

root-box:
	$(ROOT_TEST) $(BOX) -args -root

root-beside:
	nice env $(ROOT_TEST) -p 1 $$($(ROOT_PACKAGES) | grep -v /netctl/ | grep -vxF $(BOX)) -args -root

# Every page checked by axe-core in every language, at both widths and in both colour schemes. make test checks only French and Arabic.
pages: test-tools
	JUDGE_ALL=yes $(GO) test ./captive ./captive/admin ./captive/voice ./cmd/hub/dashboard -count=1 -p 1 -timeout 40m -args -root

# Attacks on the box, as one table; ATTACK='-only NAME' for some of them. It measures latency, so nothing else should run on the machine.
attack: tools
	$(GO) run ./cmd/attack $(ATTACK)

# The lender's promise in many more random histories than in a test: crashes, power cuts, clock changes.
HISTORIES ?= 1000000
histories:
	$(GO) test ./appliance/ledger -count=1 -timeout 12h -run '^TestPromise$$' -args -histories $(HISTORIES)

# Radio, button, light and queues, on Debian's kernel in a virtual machine; RUN=NAME for some of its tests.
test-vm: vm-tools
	@mkdir -p screenshots
	SCREENSHOTS=$(CURDIR)/screenshots GO=$(GO) image/vm/run $(if $(RUN),-test.run '$(RUN)')

# The Debian packages, installed and run in a Debian root; SUITE=trixie for a suite other than bookworm.
test-deb: deb-test-tools
	GO=$(GO) image/deb/test $(SUITE)
	GO=$(GO) cmd/hub/deb/test $(SUITE)

# The image of a card, in bin/. It needs root, for the owners of the files in it.
VERSION ?= $(shell git log -1 --date=format:%Y.%m.%d --format=%cd-%h 2>/dev/null || date -u +%Y.%m.%d)
image: image-tools
	GO=$(GO) image/build bin $(VERSION)

# Updates image/lock to the newest versions of Debian's packages. Then check git diff image/lock, and build.
image-lock: image-tools
	image/renew

# Builds the image again in another place: it must be identical to the one in bin/, byte for byte.
test-image-twice: image-tools
	GO=$(GO) image/again bin $(VERSION)

# Boots the image in bin/ in emulated boards; RUN=NAME for some of its tests. Those that take long are in test-image-long.
IMAGE_TEST = $(GO) test ./image/check -count=1 -v $(if $(RUN),-run '$(RUN)') -timeout
IMAGE_FILE = $(CURDIR)/bin/passerelle-$(VERSION)-arm64.img.zst
test-image: image-test-tools
	$(IMAGE_TEST) 2h -args -image $(IMAGE_FILE)

test-image-long: image-test-tools
	$(IMAGE_TEST) 8h -args -image $(IMAGE_FILE) -long

# Builds the image, with newer packages than the lock's if Debian has dropped those, and boots it in the tests that are short enough for
# CI. CI runs it unless the machine is so slow that it would not end in time.
test-image-ci: image-tools image-test-tools
	GO=$(GO) .ci/image $(VERSION) '^(TestFirstBoot|TestResident)$$'

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt would change these files'; exit 1; }
	$(GO) vet ./... ./testdata
	$(GO) tool staticcheck ./... ./testdata
	@$(GO) tool govulncheck ./... || { test $$? -ne 3 || exit 1; echo 'govulncheck could not reach its data: nothing was checked for known holes'; }

# Compiles the program for the boards' processors. Nothing else in CI does: make test-deb builds for amd64.
cross:
	GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null ./cmd/passerelle
	GOOS=linux GOARCH=arm GOARM=6 $(GO) build -o /dev/null ./cmd/passerelle

# Fuzzes each parser briefly; FUZZTIME=10m for a night.
FUZZTIME ?= 10s
fuzz:
	@GO=$(GO) .ci/fuzz $(FUZZTIME)

# The comparison table. Nothing else should run on the machine. BENCH='-beside FILE' compares the daemon with another build.
bench: tools
	$(GO) run ./cmd/bench $(BENCH)

tools:
	@.ci/tools $(TOOLS)

test-tools: $(AXE)
	@.ci/tools $(TEST_TOOLS)

# axe-core finds accessibility barriers on pages. Only the tests need it. npm checks it against the checksum in .ci/axe.
$(AXE): .ci/axe/package.json .ci/axe/package-lock.json
	@.ci/tools npm:npm
	mkdir -p bin/axe
	cp $^ bin/axe
	npm ci --silent --prefix bin/axe --ignore-scripts --no-audit --no-fund
	cp bin/axe/node_modules/axe-core/axe.min.js $@

race-tools:
	@.ci/tools $(RACE_TOOLS)

deb-test-tools:
	@.ci/tools $(DEB_TEST_TOOLS)

vm-tools:
	@.ci/tools $(VM_TOOLS)

image-tools:
	@.ci/tools $(IMAGE_TOOLS)

image-test-tools:
	@.ci/tools $(IMAGE_TEST_TOOLS)

clean:
	rm -rf bin
