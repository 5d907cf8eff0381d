package netctl

// The names of a radio's bands in the configuration.
const (
	Band24 = "2.4GHz"
	Band5  = "5GHz"
)

// Radio is the capabilities of one of the box's radios (a "wiphy" of nl80211).
type Radio struct {
	Index int    // in the kernel
	Name  string // "phy0"

	AccessPoint bool // it can be an access point
	STA         bool // it can be a station of another network
	// BSS is how many BSSs it can serve at once as an access point, BSSWithSTA how many while it is also a station, 0 if it
	// can't be both. They are read from its interface combinations (NL80211_ATTR_INTERFACE_COMBINATIONS).
	BSS        int
	BSSWithSTA int
	Channels   int // how many different channels it can use at once while it is both; 0 if it can't be both

	// CanIsolate tells that its driver supports ap_isolate: it forwards nothing between stations (NL80211_CMD_SET_BSS).
	// mac80211 implements it in software; brcmfmac, the Raspberry Pi's driver, has it since Linux 6.16.
	CanIsolate bool
	// ScanWhileAP tells that it can scan while it is an access point (NL80211_FEATURE_AP_SCAN).
	ScanWhileAP bool
	MaxStations int // the maximum as an access point (NL80211_ATTR_MAX_AP_ASSOC_STA); 0: unknown

	MFP bool // management frame protection: it has the cipher BIP-CMAC-128, 00-0F-AC:6
	SAE bool // hostapd 2.10 can authenticate its stations by SAE (WPA3)
	OWE bool // hostapd 2.10 can encrypt its open network (RFC 8110)

	Bands []Band // that the box supports, by frequency
}

// Band returns the radio's band of that name.
func (r Radio) Band(name string) (b Band, ok bool) {
	for _, b := range r.Bands {
		if b.Name == name {
			return b, true
		}
	}
	return Band{}, false
}

// MaxBSS returns how many BSSs the radio can serve at once, if it is also a station (withSTA) or not.
func (r Radio) MaxBSS(withSTA bool) int {
	if withSTA {
		return r.BSSWithSTA
	}
	return r.BSS
}

// Band is a frequency band of a radio.
type Band struct {
	Name     string // Band24 or Band5
	HT       bool   // 802.11n
	HTCaps   uint16 // HT Capability Information field (IEEE 802.11-2020, 9.4.2.55.2)
	VHT      bool   // 802.11ac
	VHTCaps  uint32 // VHT Capabilities Information field (IEEE 802.11-2020, 9.4.2.157.2)
	Channels []Channel
}

// Channel returns the band's channel of that number.
func (b Band) Channel(number int) (c Channel, ok bool) {
	for _, c := range b.Channels {
		if c.Number == number {
			return c, true
		}
	}
	return Channel{}, false
}

// Channel is a channel of 20 MHz, under the kernel's current regulatory domain.
type Channel struct {
	Number int // IEEE 802.11-2020, annex E
	MHz    int // center frequency
	// Allowed tells that a BSS may be started here at once: the channel is neither disabled, nor for passive scans only, nor
	// subject to DFS (NL80211_FREQUENCY_ATTR_DISABLED, _NO_IR and _RADAR).
	Allowed bool
	Power   int // maximum transmit power, in dBm
	// HT40Plus and HT40Minus tell that it may form 40 MHz with the channel above or below it, VHT80 that it may be a part of
	// 80 MHz (NL80211_FREQUENCY_ATTR_NO_HT40_PLUS, _NO_HT40_MINUS and _NO_80MHZ are not set).
	HT40Plus, HT40Minus, VHT80 bool
}

// ChannelNumber returns the number and band of the channel with that center frequency; 0 if the box doesn't support the band
// (IEEE 802.11-2020, annex E).
func ChannelNumber(mhz int) (number int, band string) {
	switch {
	case mhz == 2484:
		return 14, Band24
	case mhz >= 2412 && mhz <= 2472 && mhz%5 == 2:
		return (mhz - 2407) / 5, Band24
	case mhz >= 5160 && mhz <= 5885 && mhz%5 == 0:
		return (mhz - 5000) / 5, Band5
	}
	return 0, ""
}

// segments80 are the first channels of the segments of 80 MHz (IEEE 802.11-2020, table E-4, operating class 128).
var segments80 = [...]int{36, 52, 100, 116, 132, 149}

// Segment80 returns the first of the four 5 GHz channels of this one's 80 MHz segment, 0 if it is in none.
func Segment80(channel int) (first int) {
	for _, first := range segments80 {
		if channel >= first && channel <= first+12 {
			return first
		}
	}
	return 0
}

// RadioKind is the mode of a radio's interface.
type RadioKind string

// The kinds of interface.
const (
	RadioAccessPoint RadioKind = "ap"
	RadioStation     RadioKind = "station"
	RadioOther       RadioKind = "other"
)

// RadioInterface is a network interface of a radio.
type RadioInterface struct {
	Name    string
	Index   int // interface index
	Radio   int // Index of its Radio
	Kind    RadioKind
	Address MAC
	MHz     int // center frequency of the primary channel in use; 0: none
}

// Security is how a network in range authenticates its stations.
type Security string

// The kinds of security, as far as associating goes.
const (
	SecurityOpen       Security = "open"
	SecurityOWE        Security = "OWE"        // encrypted without a password
	SecurityWPA2       Security = "WPA2"       // a password
	SecurityWPA2SAE    Security = "WPA2/WPA3"  // a password, by PSK or SAE
	SecuritySAE        Security = "WPA3"       // a password, by SAE only
	SecurityEnterprise Security = "enterprise" // 802.1X: an account for each user, which the box does not support
	SecurityOld        Security = "old"        // WEP or the first WPA: broken, which the box does not support
	SecurityUnknown    Security = "unknown"
)

// ScanResult is a BSS that a scan found.
type ScanResult struct {
	SSID     string // arbitrary bytes; "": hidden
	MHz      int    // center frequency of its primary channel
	Signal   int    // dBm
	Security Security
}

// Survey is a radio's measurement of a channel.
type Survey struct {
	MHz   int
	Busy  float64 // share of the time in which the channel was busy, 0 to 1
	Noise int     // dBm; 0: unknown
}

// AccessPoint is the desired configuration of the box's access point.
type AccessPoint struct {
	Interface    string
	Index        int    // of Interface
	Address      MAC    // of Interface
	Bridge       string // that hostapd adds its interfaces to; "": none
	OWEInterface string // the name of the OWE BSS's interface, if there is one (Transition)
	Radio        Radio
	WithSTA      bool // the radio is also a station of a lender's network, and shares its channel

	SSID        string // bytes
	Password    string // "": open
	Country     string // ISO 3166-1 alpha-2
	Band        string
	Channel     int
	MaxStations int // 0: hostapd's maximum
}

// Transition tells whether the open BSS has an OWE transition BSS, which phones that support OWE choose automatically
// (Opportunistic Wireless Encryption Specification, 2.2: OWE transition mode). The two are one network to the box, so they
// need a bridge. The bridge isolates its ports, because hostapd isolates only the stations of the same BSS.
func (a AccessPoint) Transition() bool {
	return a.Password == "" && a.Bridge != "" && a.OWEInterface != "" && a.Radio.OWE && a.Radio.MaxBSS(a.WithSTA) >= 2
}

// Interfaces returns the interfaces that stations associate with.
func (a AccessPoint) Interfaces() []string {
	if a.Transition() {
		return []string{a.Interface, a.OWEInterface}
	}
	return []string{a.Interface}
}
