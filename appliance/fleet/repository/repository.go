// Package repository makes the signed files that package trust verifies: a folder that people sign offline, and that hubs sign too. It
// owns the form of that folder, the keys' files, and the steps from a change to its publication: staged, signed, published, sealed. It
// must not know what a target means, nor be part of the box.
//
//	metadata/  published files: N.root.json, N.targets.json, N.ROLE.json, N.snapshot.json, timestamp.json
//	staged/    files that wait for signatures: root.json, targets.json, ROLE.json
//	targets/   the files that are signed, and the files that these name by hash
//
// Several people sign one staged file in turns: the folder goes from one to the next on a stick or in git.
package repository

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"passerelle/appliance/fleet/trust"
	"passerelle/appliance/private"
)

// How long metadata is valid. A hub seals once a day. People sign rarely, and somebody must notice an expiry in time.
const (
	RootValid      = 10 * 365 * 24 * time.Hour
	TargetsValid   = 2 * 365 * 24 * time.Hour
	DelegatedValid = 365 * 24 * time.Hour
	SnapshotValid  = 90 * 24 * time.Hour
	TimestampValid = 30 * 24 * time.Hour
)

// Threshold is how many keys must sign root and targets.
const Threshold = 2

// Roles that the TUF specification names.
const (
	Root    = metadata.ROOT
	Targets = metadata.TARGETS
)

// Repository is a repository in a folder.
type Repository struct{ Dir string }

const (
	stagedFolder   = "staged"
	metadataFolder = trust.MetadataFolder
	targetsFolder  = trust.TargetsFolder
)

func (r Repository) staged(role string) string {
	return filepath.Join(r.Dir, stagedFolder, role+".json")
}

// Keys are the keys of each role.
type Keys struct {
	Root, Release, Hub []PublicKey
}

// StageRoot stages a root with these keys: the first root, or the successor of the last published one. It then needs signatures by the
// keys of both.
func (r Repository) StageRoot(keys Keys, now time.Time) error {
	switch {
	case len(keys.Root) < Threshold+1, len(keys.Release) < Threshold+1:
		return fmt.Errorf("%d keys for the root and %d for releases: it takes %d each, so that one may be lost", len(keys.Root),
			len(keys.Release), Threshold+1)
	case len(keys.Hub) == 0:
		return errors.New("no key for a hub: without one, nothing says which files are the newest")
	}
	root := metadata.Root(now.Add(RootValid).UTC().Truncate(time.Second))
	root.Signed.ConsistentSnapshot = true
	used := map[string]string{}
	for _, role := range []struct {
		roles []string
		keys  []PublicKey
	}{
		{[]string{metadata.ROOT}, keys.Root}, {[]string{metadata.TARGETS}, keys.Release},
		{[]string{metadata.SNAPSHOT, metadata.TIMESTAMP}, keys.Hub},
	} {
		for _, k := range role.keys {
			if other := used[k.ID()]; other != "" {
				return fmt.Errorf("key %s is there twice, for %s and %s: a thief of one key would have two", Short(k.ID()), other, role.roles[0])
			}
			used[k.ID()] = role.roles[0]
			for _, name := range role.roles {
				if err := root.Signed.AddKey(k.key, name); err != nil {
					return fmt.Errorf("stage the root: %w", err)
				}
			}
		}
	}
	root.Signed.Roles[metadata.ROOT].Threshold = Threshold
	root.Signed.Roles[metadata.TARGETS].Threshold = Threshold
	before, err := latest(r, Root, metadata.Root())
	if err != nil {
		return err
	}
	if before != nil {
		root.Signed.Version = before.Signed.Version + 1
	}
	return stage(r, Root, root)
}

// Change changes the targets that the release role signs: the staged ones if there are any, otherwise the published ones.
func (r Repository) Change(now time.Time, change func(*metadata.TargetsType) error) error {
	return r.change(Targets, now.Add(TargetsValid), change)
}

// ChangeOf changes the targets that an association's role signs.
func (r Repository) ChangeOf(role string, now time.Time, change func(*metadata.TargetsType) error) error {
	if err := trust.CheckRole(role); err != nil {
		return err
	}
	return r.change(role, now.Add(DelegatedValid), change)
}

func (r Repository) change(role string, expires time.Time, change func(*metadata.TargetsType) error) error {
	before, err := latest(r, role, metadata.Targets())
	if err != nil {
		return err
	}
	now, err := readStaged(r, role, metadata.Targets())
	switch {
	case err == nil:
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case before != nil:
		now = before
		now.Signed.Version++
	default:
		now = metadata.Targets()
	}
	now.Signed.Expires = expires.UTC().Truncate(time.Second)
	if err := change(&now.Signed); err != nil {
		return err
	}
	return stage(r, role, now) // without signatures: those were for another text
}

// Delegate lets an association's key sign files below folders: folder/*, folder/*/* and so on to a depth of three. A nil key ends the
// delegation: boxes then refuse what its role has signed.
func (r Repository) Delegate(role string, key *PublicKey, folders []string, now time.Time) error {
	if err := trust.CheckRole(role); err != nil {
		return err
	}
	var patterns []string
	for _, folder := range folders {
		if !fs.ValidPath(folder) || folder == "." || strings.ContainsAny(folder, `*?[\`) {
			return fmt.Errorf("%q is no folder", folder)
		}
		patterns = append(patterns, folder+"/*", folder+"/*/*", folder+"/*/*/*")
	}
	if key != nil && len(patterns) == 0 {
		return fmt.Errorf("role %s needs a folder", role)
	}
	return r.Change(now, func(t *metadata.TargetsType) error {
		if t.Delegations == nil {
			t.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}}
		}
		d := t.Delegations
		d.Roles = slices.DeleteFunc(d.Roles, func(other metadata.DelegatedRole) bool { return other.Name == role })
		if key != nil {
			d.Keys[key.ID()] = key.key
			d.Roles = append(d.Roles, metadata.DelegatedRole{Name: role, KeyIDs: []string{key.ID()}, Threshold: 1, Terminating: true, Paths: patterns})
			slices.SortFunc(d.Roles, func(a, b metadata.DelegatedRole) int { return strings.Compare(a.Name, b.Name) })
		}
		maps.DeleteFunc(d.Keys, func(id string, _ *metadata.Key) bool {
			return !slices.ContainsFunc(d.Roles, func(r metadata.DelegatedRole) bool { return slices.Contains(r.KeyIDs, id) })
		})
		return nil
	})
}

// Add writes a file to the targets folder, and returns its entry for the signed targets.
func (r Repository) Add(name string, text []byte) (*metadata.TargetFiles, error) {
	if !fs.ValidPath(name) || name == "." {
		return nil, fmt.Errorf("%q is no path of a target", name)
	}
	sum := sha256.Sum256(text)
	t := trust.Target{Path: name, Size: int64(len(text)), SHA256: sum}
	if err := r.write(t.File(), text); err != nil {
		return nil, err
	}
	return &metadata.TargetFiles{Length: t.Size, Hashes: metadata.Hashes{"sha256": sum[:]}}, nil
}

// Sign adds a key's signature to a staged file. The error says so if the key may not sign it.
func (r Repository) Sign(role string, key Key) error {
	signer, err := key.signer()
	if err != nil {
		return err
	}
	may, err := r.signers(role)
	if err != nil {
		return err
	}
	if !slices.Contains(may, key.ID()) {
		return fmt.Errorf("key %s may not sign %s", Short(key.ID()), role)
	}
	if role == Root {
		root, err := readStaged(r, role, metadata.Root())
		if err == nil {
			root.Signatures = slices.DeleteFunc(root.Signatures, func(s metadata.Signature) bool { return s.KeyID == key.ID() })
			_, err = root.Sign(signer)
		}
		if err != nil {
			return fmt.Errorf("sign %s: %w", role, err)
		}
		return keep(r, role, root)
	}
	targets, err := readStaged(r, role, metadata.Targets())
	if err == nil {
		targets.Signatures = slices.DeleteFunc(targets.Signatures, func(s metadata.Signature) bool { return s.KeyID == key.ID() })
		_, err = targets.Sign(signer)
	}
	if err != nil {
		return fmt.Errorf("sign %s: %w", role, err)
	}
	return keep(r, role, targets)
}

// signers returns the IDs of the keys whose signature counts for a staged file.
func (r Repository) signers(role string) ([]string, error) {
	root, err := r.root()
	if err != nil && !(role == Root && errors.Is(err, errNoRoot)) {
		return nil, err
	}
	switch role {
	case Root:
		staged, err := readStaged(r, Root, metadata.Root())
		if err != nil {
			return nil, err
		}
		may := slices.Clone(staged.Signed.Roles[Root].KeyIDs)
		if root != nil {
			may = append(may, root.Signed.Roles[Root].KeyIDs...)
		}
		return may, nil
	case Targets:
		return root.Signed.Roles[Targets].KeyIDs, nil
	}
	parent, err := latest(r, Targets, metadata.Targets())
	if err != nil {
		return nil, err
	}
	if parent != nil && parent.Signed.Delegations != nil {
		for _, d := range parent.Signed.Delegations.Roles {
			if d.Name == role {
				return d.KeyIDs, nil
			}
		}
	}
	return nil, fmt.Errorf("nothing is delegated to the role %s in what is published", role)
}

// errNoRoot says that no root is published, so that nothing else can be signed.
var errNoRoot = errors.New("no root is published yet: that comes first")

// root returns the published root.
func (r Repository) root() (*metadata.Metadata[metadata.RootType], error) {
	root, err := latest(r, Root, metadata.Root())
	if err == nil && root == nil {
		err = errNoRoot
	}
	return root, err
}

// Staged is a file that waits for signatures.
type Staged struct {
	Role    string
	Version int64
	Signed  []string // IDs of the keys that have signed it
	Err     error    // why it cannot be published yet; nil if it can
}

// Staged returns the staged files, by role.
func (r Repository) Staged() ([]Staged, error) {
	entries, err := os.ReadDir(filepath.Join(r.Dir, stagedFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var waiting []Staged
	for _, e := range entries {
		role, found := strings.CutSuffix(e.Name(), ".json")
		if !found {
			continue
		}
		s := Staged{Role: role}
		signatures := []metadata.Signature(nil)
		if role == Root {
			root, err := readStaged(r, role, metadata.Root())
			if err != nil {
				return nil, err
			}
			s.Version, signatures, s.Err = root.Signed.Version, root.Signatures, r.checkRoot(root)
		} else {
			targets, err := readStaged(r, role, metadata.Targets())
			if err != nil {
				return nil, err
			}
			s.Version, signatures, s.Err = targets.Signed.Version, targets.Signatures, r.checkTargets(role, targets)
		}
		for _, signature := range signatures {
			s.Signed = append(s.Signed, signature.KeyID)
		}
		waiting = append(waiting, s)
	}
	return waiting, nil
}

// checkRoot returns why a root cannot be published, nil if it can.
func (r Repository) checkRoot(staged *metadata.Metadata[metadata.RootType]) error {
	if err := staged.VerifyDelegate(Root, staged); err != nil {
		return fmt.Errorf("it needs %d of its own keys: %w", Threshold, err)
	}
	before, err := latest(r, Root, metadata.Root())
	if err != nil || before == nil {
		return err
	}
	if err := before.VerifyDelegate(Root, staged); err != nil {
		return fmt.Errorf("it needs %d of the keys of the root before it: %w", Threshold, err)
	}
	if staged.Signed.Version != before.Signed.Version+1 {
		return fmt.Errorf("it has version %d, and the published one %d", staged.Signed.Version, before.Signed.Version)
	}
	return nil
}

// checkTargets returns why a role's targets cannot be published, nil if they can.
func (r Repository) checkTargets(role string, staged *metadata.Metadata[metadata.TargetsType]) error {
	root, err := r.root()
	if err != nil {
		return err
	}
	before, err := latest(r, role, metadata.Targets())
	if err != nil {
		return err
	}
	if before != nil && staged.Signed.Version != before.Signed.Version+1 {
		return fmt.Errorf("it has version %d, and the published one %d", staged.Signed.Version, before.Signed.Version)
	}
	if role == Targets {
		return root.VerifyDelegate(role, staged)
	}
	parent, err := latest(r, Targets, metadata.Targets())
	if err != nil {
		return err
	}
	if parent == nil {
		return errors.New("nothing is published that delegates to it")
	}
	return parent.VerifyDelegate(role, staged)
}

// Publish publishes the staged files that have enough signatures, the root first, and returns their roles. The others stay staged.
func (r Repository) Publish() ([]string, error) {
	var published []string
	for _, only := range []func(string) bool{
		func(role string) bool { return role == Root }, func(role string) bool { return role == Targets },
		func(role string) bool { return role != Root && role != Targets },
	} {
		waiting, err := r.Staged() // read again: a file that was published decides which others may be
		if err != nil {
			return published, err
		}
		for _, s := range waiting {
			if !only(s.Role) || s.Err != nil {
				continue
			}
			text, err := os.ReadFile(r.staged(s.Role))
			if err != nil {
				return published, err
			}
			if err := r.write(path.Join(metadataFolder, versioned(s.Version, s.Role)), text); err != nil {
				return published, err
			}
			if err := os.Remove(r.staged(s.Role)); err != nil {
				return published, err
			}
			if err := private.SyncFolder(filepath.Join(r.Dir, stagedFolder)); err != nil {
				return published, err
			}
			published = append(published, s.Role)
		}
	}
	return published, nil
}

// Seal states which published files belong together and are the newest: it writes a snapshot and a timestamp, signed by a hub's key.
// Their version is the time in seconds, so that several hubs need not agree on a number.
func (r Repository) Seal(key Key, now time.Time) error {
	signer, err := key.signer()
	if err != nil {
		return err
	}
	root, err := r.root()
	if err != nil {
		return err
	}
	if !slices.Contains(root.Signed.Roles[metadata.SNAPSHOT].KeyIDs, key.ID()) {
		return fmt.Errorf("key %s is no hub's in the published root", Short(key.ID()))
	}
	roles, err := r.roles()
	if err != nil {
		return err
	}
	if roles[Targets] == 0 {
		return errors.New("no targets are published yet: that comes first")
	}
	snapshot := metadata.Snapshot(now.Add(SnapshotValid).UTC().Truncate(time.Second))
	clear(snapshot.Signed.Meta)
	for role, version := range roles {
		text, err := os.ReadFile(filepath.Join(r.Dir, metadataFolder, versioned(version, role)))
		if err != nil {
			return err
		}
		snapshot.Signed.Meta[role+".json"] = metaFile(version, text)
	}
	before, err := r.timestamp()
	if err != nil {
		return err
	}
	version := max(now.Unix(), before+1)
	snapshot.Signed.Version = version
	text, err := signed(snapshot, func() error { _, err := snapshot.Sign(signer); return err })
	if err != nil {
		return err
	}
	if err := r.write(path.Join(metadataFolder, versioned(version, metadata.SNAPSHOT)), text); err != nil {
		return err
	}
	timestamp := metadata.Timestamp(now.Add(TimestampValid).UTC().Truncate(time.Second))
	timestamp.Signed.Version = version
	timestamp.Signed.Meta["snapshot.json"] = metaFile(version, text)
	text, err = signed(timestamp, func() error { _, err := timestamp.Sign(signer); return err })
	if err != nil {
		return err
	}
	return r.write(path.Join(metadataFolder, metadata.TIMESTAMP+".json"), text) // last, since boxes begin with it
}

func metaFile(version int64, text []byte) *metadata.MetaFiles {
	sum := sha256.Sum256(text)
	m := metadata.MetaFile(version)
	m.Length, m.Hashes = int64(len(text)), metadata.Hashes{"sha256": sum[:]}
	return m
}

func signed[T metadata.Roles](m *metadata.Metadata[T], sign func() error) ([]byte, error) {
	if err := sign(); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	text, err := m.ToBytes(true)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return text, nil
}

// timestamp returns the version of the published timestamp, 0 if there is none.
func (r Repository) timestamp() (int64, error) {
	text, err := os.ReadFile(filepath.Join(r.Dir, metadataFolder, metadata.TIMESTAMP+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	t, err := metadata.Timestamp().FromBytes(text)
	if err != nil {
		return 0, fmt.Errorf("read the published timestamp: %w", err)
	}
	return t.Signed.Version, nil
}

// versioned returns the name of a published file.
func versioned(version int64, role string) string { return fmt.Sprintf("%d.%s.json", version, role) }

// roles returns the newest published version of targets and of each delegated role.
func (r Repository) roles() (map[string]int64, error) {
	newest, err := r.newest()
	if err == nil {
		delete(newest, Root)
		delete(newest, metadata.SNAPSHOT)
	}
	return newest, err
}

// newest returns the newest published version of each role whose files have versions in their names.
func (r Repository) newest() (map[string]int64, error) {
	entries, err := os.ReadDir(filepath.Join(r.Dir, metadataFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	newest := map[string]int64{}
	for _, e := range entries {
		number, rest, _ := strings.Cut(e.Name(), ".")
		role, found := strings.CutSuffix(rest, ".json")
		version, err := strconv.ParseInt(number, 10, 64)
		if found && err == nil && version > newest[role] {
			newest[role] = version
		}
	}
	return newest, nil
}

// latest returns the newest published file of a role, nil if there is none.
func latest[T metadata.Roles](r Repository, role string, empty *metadata.Metadata[T]) (*metadata.Metadata[T], error) {
	newest, err := r.newest()
	if err != nil || newest[role] == 0 {
		return nil, err
	}
	m, err := empty.FromFile(filepath.Join(r.Dir, metadataFolder, versioned(newest[role], role)))
	if err != nil {
		return nil, fmt.Errorf("read the published %s: %w", role, err)
	}
	return m, nil
}

func readStaged[T metadata.Roles](r Repository, role string, empty *metadata.Metadata[T]) (*metadata.Metadata[T], error) {
	text, err := os.ReadFile(r.staged(role))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("nothing of the role %s is staged: %w", role, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	m, err := empty.FromBytes(text)
	if err != nil {
		return nil, fmt.Errorf("read what is staged of the role %s: %w", role, err)
	}
	return m, nil
}

// stage stages a file, and removes its signatures.
func stage[T metadata.Roles](r Repository, role string, m *metadata.Metadata[T]) error {
	m.ClearSignatures()
	return keep(r, role, m)
}

func keep[T metadata.Roles](r Repository, role string, m *metadata.Metadata[T]) error {
	text, err := m.ToBytes(true)
	if err != nil {
		return fmt.Errorf("stage %s: %w", role, err)
	}
	return r.write(path.Join(stagedFolder, role+".json"), text)
}

// write writes a file of the repository atomically. When it returns, the file is on the disk, and so are the folders that it created.
func (r Repository) write(name string, text []byte) error {
	file := filepath.Join(r.Dir, filepath.FromSlash(name))
	folder := filepath.Dir(file)
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		for at := path.Dir(path.Dir(name)); ; at = path.Dir(at) {
			if err := private.SyncFolder(filepath.Join(r.Dir, filepath.FromSlash(at))); err != nil {
				return err
			}
			if at == "." {
				break
			}
		}
	}
	return private.WriteFile(file, text, 0o644)
}

// WriteHashed writes a file below the targets folder under the SHA-256 by which a signed file names it.
func (r Repository) WriteHashed(folder string, sum [32]byte, text []byte) error {
	return r.write(trust.Hashed(folder, sum), text)
}
