package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"passerelle/image/vm/outside"
	"passerelle/netctl/netlab"
)

// share is the folder that the machine shares with the tests outside (package outside).
const share = "/share"

// ConnectOutside connects the cable that leads out of the machine to a lender's network.
func ConnectOutside(l *netlab.Lender) error {
	const name = "outside"
	err := takeAdapter(l.Router, outsideMAC, name)
	if err == nil {
		err = l.Join(name)
	}
	if err != nil {
		return fmt.Errorf("lead the cable out of the machine: %w", err)
	}
	return nil
}

// Walk hands a new box's screen to the technician outside, and waits for the report.
func Walk(ctx context.Context, screen string) (r outside.Report, err error) {
	path := filepath.Join(share, outside.Screen)
	if err := errors.Join(os.WriteFile(path+".part", []byte(screen), 0o644), os.Rename(path+".part", path)); err != nil {
		return r, err
	}
	for {
		text, err := os.ReadFile(filepath.Join(share, outside.ReportFile))
		if err == nil {
			return r, json.Unmarshal(text, &r)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return r, err
		}
		if err := pause(ctx, time.Second); err != nil {
			return r, fmt.Errorf("wait for the technician outside: %w", err)
		}
	}
}

// ScanCode parses the text of a Wi-Fi QR code as a phone does: keys and values, in which a backslash escapes the next character (the
// ZXing project, "Barcode Contents").
func ScanCode(text string) (n Network, err error) {
	rest, ok := strings.CutPrefix(text, "WIFI:")
	if !ok {
		return n, fmt.Errorf("%q is no network", text)
	}
	values := map[byte]string{}
	for rest != ";" {
		if len(rest) < 2 || rest[1] != ':' {
			return n, fmt.Errorf("%q is no network: at %q", text, rest)
		}
		key, value, end := rest[0], "", 2
		for ; end < len(rest) && rest[end] != ';'; end++ {
			if rest[end] == '\\' && end+1 < len(rest) {
				end++
			}
			value += rest[end : end+1]
		}
		if end == len(rest) {
			return n, fmt.Errorf("%q is no network: it is cut off", text)
		}
		values[key], rest = value, rest[end+1:]
	}
	n = Network{SSID: values['S'], Passphrase: values['P'], Security: Open}
	switch {
	case n.SSID == "":
		return n, fmt.Errorf("%q has no name", text)
	case values['T'] == "WPA":
		n.Security = Transition
	case values['T'] != "nopass":
		return n, fmt.Errorf("%q: which security?", text)
	}
	return n, nil
}
