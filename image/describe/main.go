// Describe writes the files that accompany an image: a list of its packages with the reason and size of each, a software bill of
// materials (SPDX 2.3) for programs, and the list that Raspberry Pi Imager reads. image/build runs it.
package main

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "describe:", err)
		os.Exit(1)
	}
}

// An image is an image and the files that it was built from.
type image struct {
	name, version string
	time          time.Time
	wanted, lock  string // the files image/packages and image/lock
	root          string // the root before it was packed
	owned         string // a folder with a file for each package: the paths of its files, some of which were removed
	daemon        string // the program's file
	url           string // of the folder that the image will be downloaded from
	card          sized  // uncompressed, as on a card
	compressed    sized
}

// sized is the size of a file, in bytes, and its SHA-256, in hexadecimal.
type sized struct {
	size int64
	sum  string
}

func run(args []string) error {
	var i image
	f := flag.NewFlagSet("describe", flag.ContinueOnError)
	f.StringVar(&i.name, "name", "", "the image's `name`")
	f.StringVar(&i.version, "version", "", "its version")
	f.StringVar(&i.wanted, "packages", "", "the `file` that says which packages are wanted, and why")
	f.StringVar(&i.lock, "lock", "", "the `file` with their versions")
	f.StringVar(&i.root, "root", "", "the `folder` of the root")
	f.StringVar(&i.owned, "owned", "", "the `folder` with the files of each package")
	f.StringVar(&i.daemon, "daemon", "", "the `program`")
	f.StringVar(&i.url, "url", "", "the `address` of the folder that the image is downloaded from")
	f.StringVar(&i.card.sum, "card-sha256", "", "the card's SHA-256")
	f.Int64Var(&i.card.size, "card-size", 0, "the card's size in bytes")
	f.StringVar(&i.compressed.sum, "sha256", "", "the compressed image's SHA-256")
	f.Int64Var(&i.compressed.size, "size", 0, "its size in bytes")
	epoch := f.Int64("time", 0, "when it was made, in `seconds` since 1970")
	out := f.String("out", "", "the `folder` to write to")
	if err := f.Parse(args); err != nil {
		return err
	}
	i.time = time.Unix(*epoch, 0).UTC()

	packages, err := i.packages()
	if err != nil {
		return err
	}
	bill, err := i.bill(packages)
	if err != nil {
		return err
	}
	spdx, err := json.MarshalIndent(bill, "", "  ")
	if err != nil {
		return err
	}
	list, err := json.MarshalIndent(i.imager(), "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(*out, i.name+".packages.txt"), i.table(packages), 0o644),
		os.WriteFile(filepath.Join(*out, i.name+".spdx.json"), append(spdx, '\n'), 0o644),
		os.WriteFile(filepath.Join(*out, "os_list.json"), append(list, '\n'), 0o644),
	)
}

// pkg is a Debian package in the image.
type pkg struct {
	name, version, architecture, sum string
	reason                           string
	size                             int64  // of its files in the image, in bytes
	notFree                          string // the text of its licence, "" for free software
}

// packages returns the packages of the lock, the largest first.
func (i image) packages() ([]pkg, error) {
	reasons := map[string]string{}
	wanted, err := lines(i.wanted)
	if err != nil {
		return nil, err
	}
	for _, w := range wanted {
		_, rest, _ := strings.Cut(w, " ")
		name, reason, _ := strings.Cut(strings.TrimSpace(rest), " ")
		reasons[name] = strings.TrimSpace(reason)
	}
	locked, err := lines(i.lock)
	if err != nil {
		return nil, err
	}
	var out []pkg
	for _, l := range locked {
		f := strings.Fields(l)
		if len(f) != 8 {
			continue // a line with the suite or the time
		}
		p := pkg{name: f[1], version: f[2], architecture: f[3], sum: f[5], reason: reasons[f[1]]}
		if p.reason == "" {
			p.reason = "needed by others"
		}
		if strings.HasPrefix(p.name, "linux-image-") {
			p.reason = reasons["linux-image-arm64"]
		}
		if p.size, err = i.size(p); err != nil {
			return nil, err
		}
		if strings.Contains(f[7], "/non-free-firmware/") {
			text, err := os.ReadFile(filepath.Join(i.root, "usr/share/doc", p.name, "copyright"))
			if err != nil {
				return nil, fmt.Errorf("the licence of %s, which is not free, must be in the image: %w", p.name, err)
			}
			p.notFree = string(text)
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b pkg) int { return cmp.Or(cmp.Compare(b.size, a.size), cmp.Compare(a.name, b.name)) })
	return out, nil
}

// size returns the size of a package's files in the image, in bytes.
func (i image) size(p pkg) (n int64, err error) {
	files, err := lines(filepath.Join(i.owned, p.name))
	if err != nil {
		return 0, fmt.Errorf("list the files of %s: %w", p.name, err)
	}
	for _, f := range files {
		s, err := os.Lstat(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was removed
		}
		if err != nil {
			return 0, err
		}
		if s.Mode().IsRegular() {
			n += s.Size()
		}
	}
	return n, nil
}

// table returns the list of packages as text for people.
func (i image) table(packages []pkg) []byte {
	var b bytes.Buffer
	daemon, _ := os.Stat(i.daemon)
	total := daemon.Size()
	for _, p := range packages {
		total += p.size
	}
	fmt.Fprintf(&b, "%s: %d packages of Debian and the daemon, %.1f MB; %.1f MB as it is downloaded\n\n",
		i.name, len(packages), float64(total)/1e6, float64(i.compressed.size)/1e6)
	row := func(size int64, name, version, reason string) {
		fmt.Fprintf(&b, "%8.0f kB  %-38s %-34s %s\n", float64(size)/1e3, name, version, reason)
	}
	row(daemon.Size(), "passerelle", i.version, "the daemon")
	for _, p := range packages {
		row(p.size, p.name, p.version, p.reason)
	}
	b.WriteString("\nNot free software, with the licence in /usr/share/doc of the image and in the SPDX file:\n")
	for _, p := range packages {
		if p.notFree != "" {
			fmt.Fprintf(&b, "  %s: %s\n", p.name, p.reason)
		}
	}
	return b.Bytes()
}

// The parts of SPDX 2.3 that are used (spdx.github.io/spdx-spec/v2.3).
type (
	spdxDocument struct {
		Version       string             `json:"spdxVersion"`
		DataLicense   string             `json:"dataLicense"`
		ID            string             `json:"SPDXID"`
		Name          string             `json:"name"`
		Namespace     string             `json:"documentNamespace"`
		Creation      spdxCreation       `json:"creationInfo"`
		Packages      []spdxPackage      `json:"packages"`
		Licences      []spdxLicence      `json:"hasExtractedLicensingInfos,omitempty"`
		Relationships []spdxRelationship `json:"relationships"`
	}
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		ID        string          `json:"SPDXID"`
		Name      string          `json:"name"`
		Version   string          `json:"versionInfo"`
		Supplier  string          `json:"supplier,omitempty"`
		Download  string          `json:"downloadLocation"`
		Analysed  bool            `json:"filesAnalyzed"`
		Declared  string          `json:"licenseDeclared"`
		Concluded string          `json:"licenseConcluded"`
		Copyright string          `json:"copyrightText"`
		Sums      []spdxSum       `json:"checksums,omitempty"`
		External  []spdxReference `json:"externalRefs,omitempty"`
		Comment   string          `json:"comment,omitempty"`
	}
	spdxSum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxReference struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxLicence struct {
		ID   string `json:"licenseId"`
		Name string `json:"name"`
		Text string `json:"extractedText"`
	}
	spdxRelationship struct {
		From string `json:"spdxElementId"`
		Type string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
)

// none is the value of a field about which nothing is asserted.
const none = "NOASSERTION"

// bill returns the software bill of materials: the Debian packages, and the Go modules in the daemon.
func (i image) bill(packages []pkg) (spdxDocument, error) {
	d := spdxDocument{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: i.name,
		Namespace: "urn:passerelle:" + i.name + ":" + i.card.sum,
		Creation:  spdxCreation{i.time.Format(time.RFC3339), []string{"Tool: passerelle image/describe"}},
	}
	add := func(p spdxPackage, parent string) {
		p.Supplier, p.Download, p.Concluded, p.Copyright = cmp.Or(p.Supplier, none), cmp.Or(p.Download, none), none, none
		p.Declared = cmp.Or(p.Declared, none)
		d.Packages = append(d.Packages, p)
		kind := "CONTAINS"
		if parent == d.ID {
			kind = "DESCRIBES"
		}
		d.Relationships = append(d.Relationships, spdxRelationship{parent, kind, p.ID})
	}
	const whole, daemon = "SPDXRef-image", "SPDXRef-passerelle"
	add(spdxPackage{ID: whole, Name: i.name, Version: i.version, Sums: []spdxSum{{"SHA256", i.card.sum}}}, d.ID)
	add(spdxPackage{ID: daemon, Name: "passerelle", Version: i.version, Declared: "GPL-3.0-or-later"}, whole)
	built, err := buildinfo.ReadFile(i.daemon)
	if err != nil {
		return d, err
	}
	add(spdxPackage{ID: "SPDXRef-go", Name: "go", Version: strings.TrimPrefix(built.GoVersion, "go"), Declared: "BSD-3-Clause",
		External: purl("pkg:golang/std@" + strings.TrimPrefix(built.GoVersion, "go"))}, daemon)
	for n, m := range built.Deps {
		add(spdxPackage{ID: "SPDXRef-go-" + strconv.Itoa(n+1), Name: m.Path, Version: m.Version,
			External: purl("pkg:golang/" + m.Path + "@" + m.Version)}, daemon)
	}
	for n, p := range packages {
		out := spdxPackage{ID: "SPDXRef-debian-" + strconv.Itoa(n+1), Name: p.name, Version: p.version,
			Supplier: "Organization: Debian", Sums: []spdxSum{{"SHA256", p.sum}}, Comment: p.reason,
			External: purl("pkg:deb/debian/" + p.name + "@" + p.version + "?arch=" + p.architecture)}
		if p.notFree != "" {
			out.Declared = "LicenseRef-" + p.name
			d.Licences = append(d.Licences, spdxLicence{out.Declared, p.name, p.notFree})
		}
		add(out, whole)
	}
	return d, nil
}

func purl(locator string) []spdxReference {
	return []spdxReference{{"PACKAGE-MANAGER", "purl", locator}}
}

// The list of Raspberry Pi Imager (doc/json-schema/os-list-schema.json in its source).
type (
	imagerList struct {
		Systems []imagerSystem `json:"os_list"`
	}
	imagerSystem struct {
		Name         string   `json:"name"`
		Description  string   `json:"description"`
		URL          string   `json:"url"`
		Size         int64    `json:"extract_size"`
		Sum          string   `json:"extract_sha256"`
		DownloadSize int64    `json:"image_download_size"`
		DownloadSum  string   `json:"image_download_sha256"`
		Date         string   `json:"release_date"`
		Init         string   `json:"init_format"`
		Devices      []string `json:"devices"`
	}
)

func (i image) imager() imagerList {
	return imagerList{[]imagerSystem{{
		Name:         "Passerelle " + i.version,
		Description:  "Partage de connexions prêtées, pour un centre social - shares lent connections",
		URL:          strings.TrimSuffix(i.url, "/") + "/" + i.name + ".img.zst",
		Size:         i.card.size,
		Sum:          i.card.sum,
		DownloadSize: i.compressed.size,
		DownloadSum:  i.compressed.sum,
		Date:         i.time.Format(time.DateOnly),
		Init:         "none", // the box is configured by passerelle.toml instead
		Devices:      []string{"pi4-64bit", "pi3-64bit"},
	}}}
}

// lines returns a file's lines, except comments and empty lines.
func lines(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []string
	for l := range strings.Lines(string(text)) {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
			out = append(out, l)
		}
	}
	return out, nil
}
