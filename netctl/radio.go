package netctl

// The names of a radio's bands, as the configuration has them.
const (
	Band24 = "2.4GHz"
	Band5  = "5GHz"
)

// Radio is what a radio of the box (a "wiphy" of nl80211) can do.
type Radio struct {
	Index int    // the kernel's number of it
	Name  string // "phy0"

	AccessPoint bool // it can be an access point
	Joins       bool // it can join a network, as a station
	// Networks says how many networks (BSSs) it can be the access point of at once, and NetworksJoined how many while it
	// is a station of another network too: 0 where it can't be both. From its interface combinations
	// (NL80211_ATTR_INTERFACE_COMBINATIONS).
	Networks       int
	NetworksJoined int
	Channels       int // how many different channels it can use at once while it is both; 0 where it can't be both

	// Isolates tells that it takes the order to carry nothing from one station to another (NL80211_CMD_SET_BSS). mac80211
	// keeps it in software; brcmfmac, the Raspberry Pi's driver, knows the order since Linux 6.16 only.
	Isolates bool
	// ListensServing tells that it can listen around while it is an access point (NL80211_FEATURE_AP_SCAN).
	ListensServing bool
	Stations       int // the most that it serves at once as an access point (NL80211_ATTR_MAX_AP_ASSOC_STA); 0: unknown

	MFP bool // it protects management frames (it has the cipher BIP-CMAC-128, 00-0F-AC:6)
	SAE bool // hostapd 2.10 can ask its stations for a password by SAE (WPA3)
	OWE bool // hostapd 2.10 can encrypt its open network (RFC 8110)

	Bands []Band // of those that the box knows, by frequency
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

// Room returns how many networks the radio can be the access point of at once, while it's a station of another one too
// (joined) or not.
func (r Radio) Room(joined bool) int {
	if joined {
		return r.NetworksJoined
	}
	return r.Networks
}

// Band is a part of the air that a radio uses.
type Band struct {
	Name     string // Band24 or Band5
	HT       bool   // it can do 802.11n
	HTCaps   uint16 // HT Capability Information field (IEEE 802.11-2020, 9.4.2.55.2)
	VHT      bool   // it can do 802.11ac
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

// Channel is 20 MHz of a band, under the rules of the country that the kernel has been told.
type Channel struct {
	Number int // IEEE 802.11-2020, annex E
	MHz    int // of its middle
	// Allowed tells that a network may be begun here at once: the channel is neither closed nor for listening only, and
	// no radar has to be listened for first (NL80211_FREQUENCY_ATTR_DISABLED, _NO_IR and _RADAR).
	Allowed bool
	Power   int // the most that may be sent, in dBm
	// Above and Below tell that it may be joined to 40 MHz with the channel above or below it, Wide80 that it may be a
	// part of 80 MHz (NL80211_FREQUENCY_ATTR_NO_HT40_PLUS, _NO_HT40_MINUS and _NO_80MHZ are not set).
	Above, Below, Wide80 bool
}

// ChannelNumber returns the number of the channel with its middle there, and its band; 0 if the box doesn't know the
// band (IEEE 802.11-2020, annex E).
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

// RadioKind is what a radio's interface is for.
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
	Index   int // the kernel's number of the interface
	Radio   int // Index of its Radio
	Kind    RadioKind
	Address MAC
	MHz     int // the middle of the 20 MHz that it uses now; 0: none
}

// Security is how a network that was heard lets one in.
type Security string

// The kinds of security, as far as joining goes.
const (
	SecurityOpen       Security = "open"
	SecurityOWE        Security = "OWE"        // encrypted without a password
	SecurityWPA2       Security = "WPA2"       // a password
	SecurityWPA2SAE    Security = "WPA2/WPA3"  // a password, either way
	SecuritySAE        Security = "WPA3"       // a password, by SAE only
	SecurityEnterprise Security = "enterprise" // an account of its own for each user: not for the box
	SecurityOld        Security = "old"        // WEP or the first WPA: broken, not for the box
	SecurityUnknown    Security = "unknown"
)

// Heard is a network that was heard in a scan.
type Heard struct {
	SSID     string // bytes, of any kind; "": it keeps its name to itself
	MHz      int    // the middle of its first 20 MHz
	Signal   int    // dBm
	Security Security
}

// Busy is what a radio measured on a channel.
type Busy struct {
	MHz   int
	Share float64 // of the time in which it found the channel busy, 0 to 1
	Noise int     // dBm; 0: not told
}

// AccessPoint is what the box's access point shall be.
type AccessPoint struct {
	Interface string
	Index     int    // the kernel's number of Interface
	Address   MAC    // of Interface
	Bridge    string // that hostapd puts its interfaces into; "": none
	Second    string // the name that the interface of an open network's encrypted twin would have (Transition)
	Radio     Radio
	Joined    bool // the radio is a station of a lender's network as well, and follows its channel

	SSID     string // bytes
	Password string // "": open
	Country  string // ISO 3166-1 alpha-2
	Band     string
	Channel  int
	Stations int // the most to be served at once; 0: as many as hostapd can
}

// Transition tells that the open network has an encrypted twin, which phones that know OWE choose by themselves
// (Opportunistic Wireless Encryption Specification, 2.2: OWE transition mode). The two are one network to the box, so
// it takes a bridge; and that has to keep its ports apart, since hostapd isolates the stations of each network only.
func (a AccessPoint) Transition() bool {
	return a.Password == "" && a.Bridge != "" && a.Second != "" && a.Radio.OWE && a.Radio.Room(a.Joined) >= 2
}

// Interfaces returns the interfaces that stations are on.
func (a AccessPoint) Interfaces() []string {
	if a.Transition() {
		return []string{a.Interface, a.Second}
	}
	return []string{a.Interface}
}
