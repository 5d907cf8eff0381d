package config

import (
	"strings"

	"github.com/BurntSushi/toml"
)

// Values returns the value of each key that Format writes outside donations, by dotted path, in the types of [Change].
func (c *Config) Values() map[string]any { return typed(c.values()) }

// Values returns the value of each key of a donation, like [Config.Values]. The paths begin with "donation.".
func (d *Donation) Values() map[string]any { return typed(d.values()) }

// typed parses values of TOML text. The keys of the result are dotted paths, as in a [Difference].
func typed(texts map[string]string) map[string]any {
	values := make(map[string]any, len(texts))
	for key, text := range texts {
		values[nameOf(key)] = ParseValue(text)
	}
	return values
}

// nameOf returns the dotted path of a key of values: "hotspot.ssid" for "[hotspot] ssid", "donation.cap" for " cap".
func nameOf(key string) string {
	if name, inDonation := strings.CutPrefix(key, " "); inDonation {
		return donationKey + "." + name
	}
	return strings.NewReplacer("[", "", "] ", ".").Replace(key)
}

// ParseValue parses a value of TOML text, such as those of a [Difference]. The result has one of the types of [Change], or is nil for
// other text.
func ParseValue(text string) any {
	var file struct{ Value any }
	if _, err := toml.Decode("Value = "+text, &file); err != nil {
		return nil
	}
	switch v := file.Value.(type) {
	case string, bool:
		return v
	case int64:
		return int(v)
	case []any:
		list := make([]string, 0, len(v))
		for _, element := range v {
			if s, ok := element.(string); ok {
				list = append(list, s)
			}
		}
		return list
	case map[string]any: // the only table is a lender's Wi-Fi
		var table Table
		for _, key := range []string{"ssid", "passphrase"} {
			if s, ok := v[key].(string); ok {
				table = append(table, Pair{key, s})
			}
		}
		return table
	}
	return nil
}
