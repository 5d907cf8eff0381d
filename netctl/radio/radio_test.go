package radio

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/genetlink/genltest"
	"github.com/mdlayher/netlink"
	"github.com/mdlayher/wifi"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

var family = genetlink.Family{
	ID: 28, Version: 1, Name: unix.NL80211_GENL_NAME,
	Groups: []genetlink.MulticastGroup{{ID: 4, Name: unix.NL80211_MULTICAST_GROUP_CONFIG}, {ID: 5, Name: unix.NL80211_MULTICAST_GROUP_SCAN}},
}

// kernel answers requests with known answers, through the library or by messages, and records the requests.
type kernel struct {
	known
	answers map[uint8]genltest.Func
	events  chan genetlink.Message
	group   uint32
	asked   []genetlink.Message
	flags   []netlink.HeaderFlags
}

func (k *kernel) open(t *testing.T) *Reader {
	t.Helper()
	k.events = make(chan genetlink.Message, 8)
	dial := func() (*genetlink.Conn, error) {
		return genltest.Dial(genltest.ServeFamily(family, func(g genetlink.Message, n netlink.Message) ([]genetlink.Message, error) {
			answer, ok := k.answers[g.Header.Command]
			if !ok || n.Header.Type != netlink.HeaderType(family.ID) {
				t.Errorf("unexpected command %d of family %d", g.Header.Command, n.Header.Type)
				return nil, genltest.Error(int(unix.EOPNOTSUPP))
			}
			k.asked, k.flags = append(k.asked, g), append(k.flags, n.Header.Flags)
			return answer(g, n)
		})), nil
	}
	r, err := open(func() (library, error) { return &k.known, nil }, dial, func(group uint32) (listener, error) {
		k.group = group
		return &ear{events: k.events, late: make(chan struct{})}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// known holds the library's answers.
type known struct {
	phys        []*wifi.PHY
	interfaces  []*wifi.Interface
	stations    map[int]int // by interface
	stationsErr error
	surveys     []*wifi.SurveyInfo
	surveyErr   error
	region      string
	regionErr   error
	set         string // the region that was set
}

func (k *known) PHYs() ([]*wifi.PHY, error)             { return k.phys, nil }
func (k *known) Interfaces() ([]*wifi.Interface, error) { return k.interfaces, nil }
func (k *known) StationInfo(i *wifi.Interface) ([]*wifi.StationInfo, error) {
	return slices.Repeat([]*wifi.StationInfo{{}}, k.stations[i.Index]), k.stationsErr
}
func (k *known) SurveyInfo(*wifi.Interface) ([]*wifi.SurveyInfo, error) {
	return k.surveys, k.surveyErr
}
func (k *known) GetRegulatoryDomain() (*wifi.RegulatoryDomain, error) {
	return &wifi.RegulatoryDomain{Region: k.region}, k.regionErr
}
func (k *known) SetRegulatoryRegion(region string, hint wifi.RegulatoryHint) error {
	if hint != wifi.RegulatoryHintUser {
		return unix.EINVAL
	}
	k.set = region
	return k.regionErr
}
func (k *known) Close() error { return nil }

// ear receives the kernel's events.
type ear struct {
	events chan genetlink.Message
	late   chan struct{}
}

func (e *ear) Receive() ([]genetlink.Message, []netlink.Message, error) {
	select {
	case m := <-e.events:
		return []genetlink.Message{m}, nil, nil
	case <-e.late:
		return nil, nil, errors.New("i/o timeout")
	}
}
func (e *ear) SetReadDeadline(time.Time) error { close(e.late); return nil }
func (e *ear) Close() error                    { return nil }

// message builds one of the kernel's messages.
func message(command uint8, fill func(*netlink.AttributeEncoder)) genetlink.Message {
	return genetlink.Message{Header: genetlink.Header{Command: command, Version: 1}, Data: encode(fill)}
}

func encode(fill func(*netlink.AttributeEncoder)) []byte {
	e := netlink.NewAttributeEncoder()
	fill(e)
	b, err := e.Encode()
	if err != nil {
		panic(err)
	}
	return b
}

// in nests attributes as the kernel does for its older attributes: without the flag NLA_F_NESTED.
func in(e *netlink.AttributeEncoder, t uint16, fill func(*netlink.AttributeEncoder)) {
	e.Bytes(t, encode(fill))
}

func answer(m ...genetlink.Message) genltest.Func {
	return func(genetlink.Message, netlink.Message) ([]genetlink.Message, error) {
		if len(m) == 0 {
			return nil, io.EOF
		}
		return m, nil
	}
}

// refuse answers with an error, or with 0 for an acknowledgement.
func refuse(errno unix.Errno) genltest.Func {
	return func(genetlink.Message, netlink.Message) ([]genetlink.Message, error) {
		if errno == 0 {
			return nil, genltest.Error(0)
		}
		return nil, errno
	}
}

func TestNone(t *testing.T) {
	t.Parallel()
	_, err := open(nil, func() (*genetlink.Conn, error) { return genltest.Dial(refuse(unix.ENOENT)), nil }, nil)
	if !errors.Is(err, ErrNone) {
		t.Errorf("without nl80211: %v", err)
	}
	_, err = open(nil, func() (*genetlink.Conn, error) { return nil, fs.ErrPermission }, nil)
	if !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrNone) {
		t.Errorf("without permission: %v", err)
	}
}

// TestThisKernel opens the machine's Wi-Fi, if it has any.
func TestThisKernel(t *testing.T) {
	t.Parallel()
	r, err := Open()
	if errors.Is(err, ErrNone) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Radios(); err != nil {
		t.Error(err)
	}
	if _, err := r.Interfaces(); err != nil {
		t.Error(err)
	}
}

func TestInterfaces(t *testing.T) {
	t.Parallel()
	one := func(index int, name string, phy int, kind wifi.InterfaceType, mhz int) *wifi.Interface {
		return &wifi.Interface{
			Index: index, Name: name, PHY: phy, Type: kind, Frequency: mhz, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, byte(index)},
		}
	}
	k := &kernel{known: known{interfaces: []*wifi.Interface{
		one(3, "wlan0", 0, wifi.InterfaceTypeAP, 2437),
		one(4, "wlan1", 1, wifi.InterfaceTypeStation, 0),
		one(0, "", 1, wifi.InterfaceTypeP2PDevice, 0),
		one(5, "mon0", 1, wifi.InterfaceTypeMonitor, 0),
	}}}
	got, err := k.open(t).Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	want := []netctl.RadioInterface{
		{Name: "wlan0", Index: 3, Radio: 0, Kind: netctl.RadioAccessPoint, MHz: 2437, Address: netctl.MAC{2, 0, 0, 0, 0, 3}},
		{Name: "wlan1", Index: 4, Radio: 1, Kind: netctl.RadioStation, Address: netctl.MAC{2, 0, 0, 0, 0, 4}},
		{Name: "mon0", Index: 5, Radio: 1, Kind: netctl.RadioOther, Address: netctl.MAC{2, 0, 0, 0, 0, 5}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("interfaces (-want +got):\n%s", d)
	}
}

func TestStations(t *testing.T) {
	t.Parallel()
	k := &kernel{known: known{stations: map[int]int{3: 2, 4: 0, 5: 1}}}
	r := k.open(t)
	n, err := r.Stations([]netctl.RadioInterface{{Name: "wlan0", Index: 3}, {Name: "wlan1", Index: 4}, {Name: "wlan2", Index: 5}})
	if n != 3 || err != nil {
		t.Errorf("%d stations, %v; want 3", n, err)
	}
	k.stationsErr = unix.ENODEV
	if _, err := r.Stations([]netctl.RadioInterface{{Name: "wlan0", Index: 3}}); !errors.Is(err, unix.ENODEV) {
		t.Errorf("of an interface that's gone: %v", err)
	}
}

// attributes returns a request's attributes of 4 bytes.
func attributes(t *testing.T, g genetlink.Message) map[uint16]uint32 {
	t.Helper()
	all := map[uint16]uint32{}
	if err := each(g.Data, func(d *netlink.AttributeDecoder) error {
		if len(d.Bytes()) == 4 {
			all[d.Type()] = d.Uint32()
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	return all
}

func TestCountry(t *testing.T) {
	t.Parallel()
	k := &kernel{known: known{region: "FR"}}
	r := k.open(t)
	if c, err := r.Country(); c != "FR" || err != nil {
		t.Errorf("country %q, %v", c, err)
	}
	if err := r.SetCountry("DE"); err != nil || k.set != "DE" {
		t.Errorf("%q is set, %v", k.set, err)
	}
	k.region = ""
	if c, err := r.Country(); err == nil {
		t.Errorf("no country told, got %q", c)
	}
	k.regionErr = unix.EPERM
	if _, err := r.Country(); !errors.Is(err, unix.EPERM) {
		t.Errorf("country: %v", err)
	}
	if err := r.SetCountry("FR"); !errors.Is(err, unix.EPERM) {
		t.Errorf("set the country: %v", err)
	}
}

func TestAddRemove(t *testing.T) {
	t.Parallel()
	made := message(unix.NL80211_CMD_NEW_INTERFACE, func(e *netlink.AttributeEncoder) { e.Uint32(unix.NL80211_ATTR_IFINDEX, 9) })
	k := &kernel{answers: map[uint8]genltest.Func{
		unix.NL80211_CMD_NEW_INTERFACE: answer(made),
		unix.NL80211_CMD_DEL_INTERFACE: refuse(0),
	}}
	r := k.open(t)
	if err := r.Add(netctl.Radio{Index: 1, Name: "phy1"}, "wlan9", netctl.RadioStation); err != nil {
		t.Fatal(err)
	}
	got := attributes(t, k.asked[0])
	if got[unix.NL80211_ATTR_WIPHY] != 1 || got[unix.NL80211_ATTR_IFTYPE] != unix.NL80211_IFTYPE_STATION {
		t.Errorf("asked for %v", got)
	}
	if k.flags[0]&netlink.Acknowledge != 0 {
		t.Error("NEW_INTERFACE answers by itself: an acknowledgement too would be left on the socket")
	}
	if err := r.Add(netctl.Radio{}, "wlan9", netctl.RadioOther); err == nil {
		t.Error("an interface of no known kind was added")
	}
	if err := r.Remove(netctl.RadioInterface{Name: "wlan9", Index: 9}); err != nil {
		t.Error(err)
	}
	if got := attributes(t, k.asked[1]); got[unix.NL80211_ATTR_IFINDEX] != 9 {
		t.Errorf("asked to remove %v", got)
	}
	k.answers[unix.NL80211_CMD_DEL_INTERFACE] = refuse(unix.ENODEV)
	if err := r.Remove(netctl.RadioInterface{Name: "wlan9", Index: 9}); err != nil {
		t.Errorf("what is gone can't be removed: %v", err)
	}
	k.answers[unix.NL80211_CMD_NEW_INTERFACE] = refuse(unix.EPERM)
	if err := r.Add(netctl.Radio{Name: "phy1"}, "wlan9", netctl.RadioAccessPoint); !errors.Is(err, unix.EPERM) {
		t.Errorf("without permission: %v", err)
	}
	k.answers[unix.NL80211_CMD_NEW_INTERFACE] = refuse(unix.ENFILE)
	if err := r.Add(netctl.Radio{Name: "phy1"}, "wlan9", netctl.RadioStation); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a name that's taken: %v", err)
	}
}

// card is a radio as the kernel describes it.
type card struct {
	types    []wifi.InterfaceType
	combos   []wifi.InterfaceCombination
	commands []uint32
	features uint32
	ciphers  []uint32
	sme      bool
	stations uint32
}

// phy is the library's result for it.
func (c card) phy(index int, name string) *wifi.PHY {
	p := &wifi.PHY{
		Index: index, Name: name, SupportedIftypes: c.types, InterfaceCombinations: c.combos,
		Extra: map[uint16][]byte{unix.NL80211_ATTR_FEATURE_FLAGS: binary.NativeEndian.AppendUint32(nil, c.features)},
	}
	for _, cipher := range c.ciphers {
		p.Extra[unix.NL80211_ATTR_CIPHER_SUITES] = binary.NativeEndian.AppendUint32(p.Extra[unix.NL80211_ATTR_CIPHER_SUITES], cipher)
	}
	if c.stations != 0 {
		p.Extra[unix.NL80211_ATTR_MAX_AP_ASSOC_STA] = binary.NativeEndian.AppendUint32(nil, c.stations)
	}
	if c.sme {
		p.Extra[unix.NL80211_ATTR_DEVICE_AP_SME] = make([]byte, 4)
	}
	p.Extra[unix.NL80211_ATTR_SUPPORTED_COMMANDS] = encode(func(e *netlink.AttributeEncoder) {
		for i, command := range c.commands {
			e.Uint32(uint16(i+1), command)
		}
	})
	return p
}

// bandMessages splits a radio's bands as the kernel does, channel by channel.
func bandMessages(index uint32) []genetlink.Message {
	part := func(fill func(*netlink.AttributeEncoder)) genetlink.Message {
		return message(unix.NL80211_CMD_NEW_WIPHY, func(e *netlink.AttributeEncoder) {
			e.Uint32(unix.NL80211_ATTR_WIPHY, index)
			fill(e)
		})
	}
	type E = *netlink.AttributeEncoder
	freq := func(band uint16, mhz uint32, set ...uint16) genetlink.Message {
		return part(func(e E) {
			in(e, unix.NL80211_ATTR_WIPHY_BANDS, func(e E) {
				in(e, band, func(e E) {
					in(e, unix.NL80211_BAND_ATTR_FREQS, func(e E) {
						in(e, 0, func(e E) {
							e.Uint32(unix.NL80211_FREQUENCY_ATTR_FREQ, mhz)
							for _, s := range set {
								e.Flag(s, true)
							}
							e.Uint32(unix.NL80211_FREQUENCY_ATTR_MAX_TX_POWER, 2000)
						})
					})
				})
			})
		})
	}
	caps := func(band uint16, ht uint16, vht uint32) genetlink.Message {
		return part(func(e E) {
			in(e, unix.NL80211_ATTR_WIPHY_BANDS, func(e E) {
				in(e, band, func(e E) {
					e.Uint16(unix.NL80211_BAND_ATTR_HT_CAPA, ht)
					if vht != 0 {
						e.Uint32(unix.NL80211_BAND_ATTR_VHT_CAPA, vht)
					}
				})
			})
		})
	}
	return []genetlink.Message{
		part(func(e E) { e.Uint32(unix.NL80211_ATTR_FEATURE_FLAGS, 0) }),
		caps(unix.NL80211_BAND_5GHZ, 0x1ef, 0x339071b2),
		freq(unix.NL80211_BAND_5GHZ, 5180),
		freq(unix.NL80211_BAND_5GHZ, 5200, unix.NL80211_FREQUENCY_ATTR_NO_HT40_PLUS, unix.NL80211_FREQUENCY_ATTR_NO_80MHZ),
		freq(unix.NL80211_BAND_5GHZ, 5260, unix.NL80211_FREQUENCY_ATTR_RADAR, unix.NL80211_FREQUENCY_ATTR_NO_IR),
		caps(unix.NL80211_BAND_2GHZ, 0x1062, 0),
		freq(unix.NL80211_BAND_2GHZ, 2412, unix.NL80211_FREQUENCY_ATTR_NO_HT40_MINUS),
		freq(unix.NL80211_BAND_2GHZ, 2467, unix.NL80211_FREQUENCY_ATTR_NO_IR),
		freq(unix.NL80211_BAND_2GHZ, 2484, unix.NL80211_FREQUENCY_ATTR_DISABLED),
		freq(unix.NL80211_BAND_6GHZ, 5955),
	}
}

const (
	tAP      = wifi.InterfaceTypeAP
	tStation = wifi.InterfaceTypeStation
	tMonitor = wifi.InterfaceTypeMonitor
	tP2P     = wifi.InterfaceTypeP2PDevice
)

type (
	combination = wifi.InterfaceCombination
	limit       = wifi.InterfaceCombinationLimit
)

// of is a combination limit: a maximum of interfaces of these types.
func of(most int, types ...wifi.InterfaceType) limit { return limit{Max: most, InterfaceTypes: types} }

func TestRadios(t *testing.T) {
	t.Parallel()
	onBoard := card{ // like brcmfmac on a Raspberry Pi 4
		types:    []wifi.InterfaceType{wifi.InterfaceTypeAdHoc, tStation, tAP, tP2P},
		combos:   []combination{{CombinationLimits: []limit{of(1, tStation), of(1, tP2P), of(1, tAP)}, Total: 3, NumChannels: 2}},
		commands: []uint32{unix.NL80211_CMD_NEW_INTERFACE, unix.NL80211_CMD_START_AP},
		ciphers:  []uint32{0x000fac04, bipCMAC},
		sme:      true,
	}
	onUSB := card{ // like a mac80211 driver
		types:    []wifi.InterfaceType{tStation, tAP, tMonitor},
		combos:   []combination{{CombinationLimits: []limit{of(2, tStation, tAP)}, Total: 2, NumChannels: 1}},
		commands: []uint32{unix.NL80211_CMD_SET_BSS},
		ciphers:  []uint32{0x000fac04, bipCMAC},
		features: unix.NL80211_FEATURE_AP_SCAN,
		stations: 32,
	}
	listens := card{types: []wifi.InterfaceType{tMonitor}}
	k := &kernel{
		known:   known{phys: []*wifi.PHY{onUSB.phy(1, "phy1"), onBoard.phy(0, "phy0"), listens.phy(2, "phy2")}},
		answers: map[uint8]genltest.Func{unix.NL80211_CMD_GET_WIPHY: answer(slices.Concat(bandMessages(1), bandMessages(0), bandMessages(2))...)},
	}
	got, err := k.open(t).Radios()
	if err != nil {
		t.Fatal(err)
	}
	bands := []netctl.Band{
		{Name: netctl.Band24, HT: true, HTCaps: 0x1062, Channels: []netctl.Channel{
			{Number: 1, MHz: 2412, Allowed: true, Power: 20, HT40Plus: true, VHT80: true},
			{Number: 12, MHz: 2467, Power: 20, HT40Plus: true, HT40Minus: true, VHT80: true},
			{Number: 14, MHz: 2484, Power: 20, HT40Plus: true, HT40Minus: true, VHT80: true},
		}},
		{Name: netctl.Band5, HT: true, HTCaps: 0x1ef, VHT: true, VHTCaps: 0x339071b2, Channels: []netctl.Channel{
			{Number: 36, MHz: 5180, Allowed: true, Power: 20, HT40Plus: true, HT40Minus: true, VHT80: true},
			{Number: 40, MHz: 5200, Allowed: true, Power: 20, HT40Minus: true},
			{Number: 52, MHz: 5260, Power: 20, HT40Plus: true, HT40Minus: true, VHT80: true},
		}},
	}
	want := []netctl.Radio{
		{Index: 0, Name: "phy0", AccessPoint: true, STA: true, BSS: 1, BSSWithSTA: 1, Channels: 2, MFP: true, Bands: bands},
		{Index: 1, Name: "phy1", AccessPoint: true, STA: true, BSS: 2, BSSWithSTA: 1, Channels: 1,
			CanIsolate: true, ScanWhileAP: true, MaxStations: 32, MFP: true, SAE: true, OWE: true, Bands: bands},
		{Index: 2, Name: "phy2", Bands: bands},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("radios (-want +got):\n%s", d)
	}
}

func TestCombinations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		combination
		alone, joined int
	}{
		"apart":         {combination{CombinationLimits: []limit{of(1, tStation), of(4, tAP)}, Total: 4}, 4, 3},
		"either":        {combination{CombinationLimits: []limit{of(1, tStation, tAP)}, Total: 1}, 1, 0},
		"total of one":  {combination{CombinationLimits: []limit{of(1, tStation), of(1, tAP)}, Total: 1}, 1, 0},
		"mixed":         {combination{CombinationLimits: []limit{of(1, tStation), of(2, tStation, tAP), of(1, tAP)}, Total: 8}, 3, 3},
		"stations only": {combination{CombinationLimits: []limit{of(2, tStation)}, Total: 2}, 0, 0},
		"no station":    {combination{CombinationLimits: []limit{of(8, tAP)}, Total: 8}, 8, 0},
		"nothing":       {combination{}, 0, 0},
	} {
		if alone, joined := networks(c.combination, 0), networks(c.combination, 1); alone != c.alone || joined != c.joined {
			t.Errorf("%s: room for %d networks, %d beside a station; want %d, %d", name, alone, joined, c.alone, c.joined)
		}
	}
}

// done is the notification of a scan's end.
func done(command uint8, index uint32) genetlink.Message {
	return message(command, func(e *netlink.AttributeEncoder) {
		e.Uint32(unix.NL80211_ATTR_WIPHY, 0)
		e.Uint32(unix.NL80211_ATTR_IFINDEX, index)
	})
}

func bss(mhz uint32, mbm int32, capability uint16, elements []byte) genetlink.Message {
	return message(unix.NL80211_CMD_NEW_SCAN_RESULTS, func(e *netlink.AttributeEncoder) {
		in(e, unix.NL80211_ATTR_BSS, func(e *netlink.AttributeEncoder) {
			e.Bytes(unix.NL80211_BSS_BSSID, []byte{2, 0, 0, 0, 0, 7})
			e.Uint32(unix.NL80211_BSS_FREQUENCY, mhz)
			e.Uint16(unix.NL80211_BSS_CAPABILITY, capability)
			e.Int32(unix.NL80211_BSS_SIGNAL_MBM, mbm)
			e.Bytes(unix.NL80211_BSS_INFORMATION_ELEMENTS, elements)
		})
	})
}

func survey(mhz int, there, busy time.Duration) *wifi.SurveyInfo {
	return &wifi.SurveyInfo{Frequency: mhz, Noise: -92, ChannelTime: there, ChannelTimeBusy: busy}
}

func TestScan(t *testing.T) {
	t.Parallel()
	k := &kernel{answers: map[uint8]genltest.Func{
		unix.NL80211_CMD_TRIGGER_SCAN: refuse(0),
		unix.NL80211_CMD_GET_SCAN: answer(
			bss(2412, -4200, 0x11, []byte("\x00\x04Caf\xe9")),
			bss(5180, -7050, 0x01, []byte("\x00\x05Lilas")),
			message(unix.NL80211_CMD_NEW_SCAN_RESULTS, func(*netlink.AttributeEncoder) {}),
		),
	}, known: known{surveys: []*wifi.SurveyInfo{
		survey(2412, 200*time.Millisecond, 50*time.Millisecond), survey(2417, 0, 0), survey(2422, 10*time.Millisecond, 11*time.Millisecond),
	}}}
	r := k.open(t)
	k.events <- done(unix.NL80211_CMD_NEW_SCAN_RESULTS, 8) // another interface's
	k.events <- done(unix.NL80211_CMD_TRIGGER_SCAN, 3)
	k.events <- done(unix.NL80211_CMD_NEW_SCAN_RESULTS, 3)
	heard, busy, err := r.Scan(t.Context(), netctl.RadioInterface{Name: "wlan0", Index: 3, Kind: netctl.RadioAccessPoint})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]netctl.ScanResult{
		{SSID: "Caf\xe9", MHz: 2412, Signal: -42, Security: netctl.SecurityOld},
		{SSID: "Lilas", MHz: 5180, Signal: -70, Security: netctl.SecurityOpen},
	}, heard); d != "" {
		t.Errorf("heard (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]netctl.Survey{{MHz: 2412, Busy: 0.25, Noise: -92}, {MHz: 2422, Busy: 1, Noise: -92}}, busy); d != "" {
		t.Errorf("busy (-want +got):\n%s", d)
	}
	asked := attributes(t, k.asked[0])
	if k.group != 5 || asked[unix.NL80211_ATTR_IFINDEX] != 3 || asked[unix.NL80211_ATTR_SCAN_FLAGS]&unix.NL80211_SCAN_FLAG_AP == 0 {
		t.Errorf("asked for %v, listened to group %d", asked, k.group)
	}
}

func TestScanFails(t *testing.T) {
	t.Parallel()
	ap := netctl.RadioInterface{Name: "wlan0", Index: 3, Kind: netctl.RadioAccessPoint}
	station := netctl.RadioInterface{Name: "wlan1", Index: 4, Kind: netctl.RadioStation}
	for name, c := range map[string]struct {
		i       netctl.RadioInterface
		trigger unix.Errno
		survey  unix.Errno
		event   uint8
		want    error // nil: it succeeds
	}{
		"while serving":     {ap, unix.EOPNOTSUPP, 0, 0, ErrScanWhileAP},
		"down":              {station, unix.ENETDOWN, 0, 0, unix.ENETDOWN},
		"another is going":  {station, unix.EBUSY, 0, 0, unix.EBUSY},
		"not a real one":    {station, unix.EOPNOTSUPP, 0, 0, unix.EOPNOTSUPP},
		"survey gone wrong": {station, 0, unix.ENODEV, unix.NL80211_CMD_NEW_SCAN_RESULTS, unix.ENODEV},
		"no survey":         {station, 0, unix.EOPNOTSUPP, unix.NL80211_CMD_NEW_SCAN_RESULTS, nil},
	} {
		k := &kernel{answers: map[uint8]genltest.Func{
			unix.NL80211_CMD_TRIGGER_SCAN: refuse(c.trigger),
			unix.NL80211_CMD_GET_SCAN:     answer(),
		}}
		if c.survey != 0 {
			k.surveyErr = c.survey
		}
		r := k.open(t)
		if c.event != 0 {
			k.events <- done(c.event, uint32(c.i.Index))
		}
		if _, _, err := r.Scan(t.Context(), c.i); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}

	k := &kernel{answers: map[uint8]genltest.Func{unix.NL80211_CMD_TRIGGER_SCAN: refuse(0)}}
	r := k.open(t)
	k.events <- done(unix.NL80211_CMD_SCAN_ABORTED, 4)
	if _, _, err := r.Scan(t.Context(), station); err == nil {
		t.Error("a scan that was broken off succeeded")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := r.Scan(ctx, station); !errors.Is(err, context.Canceled) {
		t.Errorf("a scan that nobody waits for any more: %v", err)
	}
}

// rsn builds the body of an RSN element from suites of IEEE 802.11.
func rsn(pairwise, akm []byte) []byte {
	b := []byte{1, 0, 0x00, 0x0f, 0xac, 4}
	for _, list := range [][]byte{pairwise, akm} {
		b = append(b, byte(len(list)), 0)
		for _, n := range list {
			b = append(b, 0x00, 0x0f, 0xac, n)
		}
	}
	return append(b, 0xc0, 0x00)
}

func TestSecurity(t *testing.T) {
	t.Parallel()
	element := func(id byte, b []byte) []byte { return append([]byte{id, byte(len(b))}, b...) }
	for name, c := range map[string]struct {
		elements []byte
		private  bool
		want     netctl.Security
	}{
		"open":           {nil, false, netctl.SecurityOpen},
		"WEP":            {nil, true, netctl.SecurityOld},
		"WPA":            {element(221, []byte{0x00, 0x50, 0xf2, 1, 1, 0}), true, netctl.SecurityOld},
		"WPS only":       {element(221, []byte{0x00, 0x50, 0xf2, 4}), false, netctl.SecurityOpen},
		"WPA2":           {element(48, rsn([]byte{4}, []byte{2})), true, netctl.SecurityWPA2},
		"WPA and WPA2":   {append(element(221, []byte{0x00, 0x50, 0xf2, 1}), element(48, rsn([]byte{4, 2}, []byte{2}))...), true, netctl.SecurityWPA2},
		"TKIP":           {element(48, rsn([]byte{2}, []byte{2})), true, netctl.SecurityOld},
		"PSK-SHA256":     {element(48, rsn([]byte{4}, []byte{6})), true, netctl.SecurityWPA2},
		"transition":     {element(48, rsn([]byte{4}, []byte{2, 8})), true, netctl.SecurityWPA2SAE},
		"WPA3":           {element(48, rsn([]byte{4}, []byte{8})), true, netctl.SecuritySAE},
		"OWE":            {element(48, rsn([]byte{4}, []byte{18})), true, netctl.SecurityOWE},
		"enterprise":     {element(48, rsn([]byte{4}, []byte{1})), true, netctl.SecurityEnterprise},
		"all by default": {element(48, []byte{1, 0}), true, netctl.SecurityEnterprise},
		"version 2":      {element(48, []byte{2, 0}), true, netctl.SecurityUnknown},
		"other's suite":  {element(48, rsn([]byte{4}, []byte{200})), true, netctl.SecurityUnknown},
		"too many":       {element(48, []byte{1, 0, 0, 0x0f, 0xac, 4, 255, 255}), true, netctl.SecurityUnknown},
		"cut off":        {element(48, rsn([]byte{4}, []byte{2}))[:9], true, netctl.SecurityOld},
	} {
		if _, got := readElements(c.elements, c.private); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	for elements, want := range map[string]string{
		"\x00\x00": "", "\x00\x03\x00\x00\x00": "", "\x00\x02\xff\xfe": "\xff\xfe", "\x00\x09cut": "", "\x07\x01x\x00\x01y": "y",
		"\x00\x21" + string(make([]byte, 32)) + "a": "",
	} {
		if got, _ := readElements([]byte(elements), false); got != want {
			t.Errorf("SSID in %q: %q, want %q", elements, got, want)
		}
	}
}

func FuzzHeard(f *testing.F) {
	f.Add([]byte("\x00\x04Caf\xe9\x30\x02\x01\x00"), true)
	f.Add(append([]byte{48, 22}, rsn([]byte{4}, []byte{2, 8})...), true)
	f.Fuzz(func(t *testing.T, elements []byte, private bool) {
		ssid, s := readElements(elements, private)
		if len(ssid) > 32 || s == "" {
			t.Errorf("%q: SSID %q, %q", elements, ssid, s)
		}
		if h, ok := readScanResult(elements); ok && (len(h.SSID) > 32 || h.MHz == 0) {
			t.Errorf("%q: heard %+v", elements, h)
		}
	})
}
