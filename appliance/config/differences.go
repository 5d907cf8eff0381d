package config

import (
	"maps"
	"slices"
	"strings"
)

// Difference is a difference between two configurations in one key.
type Difference struct {
	Donation string // the donation's name; "" for a key outside donations
	Key      string // dotted, e.g. "hotspot.ssid"; "donation" for a whole donation
	Before   string // as TOML, without secrets; "" if it was added
	After    string // as TOML, without secrets; "" if it was removed
}

// hidden stands for a secret in a Difference.
const hidden = `"********"`

// Differences returns how after differs from before, in the order of the canonical file. A missing key and a key that is set to its
// default are equal. Donations are identified by name: a renamed one counts as removed and added.
func Differences(before, after *Config) (all []Difference) {
	all = differences("", before.values(), after.values())
	named := func(c *Config, name string) *Donation {
		i := slices.IndexFunc(c.Donations, func(d Donation) bool { return d.Name == name })
		if i < 0 {
			return nil
		}
		return &c.Donations[i]
	}
	for i := range before.Donations {
		d := &before.Donations[i]
		if named(after, d.Name) == nil {
			all = append(all, Difference{Donation: d.Name, Key: "donation", Before: quote(d.Name)})
		}
	}
	for i := range after.Donations {
		d := &after.Donations[i]
		if old := named(before, d.Name); old != nil {
			all = append(all, differences(d.Name, old.values(), d.values())...)
		} else {
			all = append(all, Difference{Donation: d.Name, Key: "donation", After: quote(d.Name)})
		}
	}
	return all
}

// differences returns the differences between two results of values.
func differences(donation string, before, after map[string]string) (all []Difference) {
	keys := maps.Clone(before)
	maps.Copy(keys, after)
	for _, key := range slices.SortedFunc(maps.Keys(keys), inExample) {
		if before[key] == after[key] {
			continue
		}
		all = append(all, Difference{donation, nameOf(key), masked(key, before[key]), masked(key, after[key])})
	}
	return all
}

// inExample compares keys by their order in the example.
func inExample(a, b string) int { return keyOrder[a] - keyOrder[b] }

// keyOrder has the line number of each key in the example.
var keyOrder = func() map[string]int {
	order, section := make(map[string]int), ""
	for i, line := range strings.Split(example, "\n") {
		switch name, _, isKey := strings.Cut(line, " = "); {
		case line+"\n" == donationHeader:
			section = ""
		case strings.HasPrefix(line, "["):
			section = line
		case isKey && !strings.HasPrefix(line, "#"):
			order[section+" "+name] = i
		}
	}
	return order
}()

// masked returns the TOML value of a key without secrets.
func masked(key, value string) string {
	switch {
	case value == "" || value == `""`:
	case strings.HasSuffix(key, " password"), strings.HasSuffix(key, " "+pinKey):
		return hidden
	case strings.HasSuffix(key, " wifi"):
		if head, _, found := strings.Cut(value, ", passphrase = "); found && !strings.HasSuffix(value, `""}`) {
			return head + ", passphrase = " + hidden + " }"
		}
	}
	return value
}
