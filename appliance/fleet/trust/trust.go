// Package trust decides which signed files the box may trust: releases of its own software, and what its association publishes. It
// owns the client side of The Update Framework (TUF specification 1.0.34): which metadata is trusted, in which order it is read, and
// what of it is kept on disk. It must not know who delivers the files (a hub, a mirror, a stick: each is a [Source]), nor what a
// target means. It only verifies; package repository signs.
//
// # Roles
//
//	role        keys                                           threshold  says
//	root        three people of different associations         2          which keys the other roles have
//	targets     three maintainers, called the release role     2          releases, and one delegation per association
//	snapshot    one per hub, all of them in root               1          the versions that belong together
//	timestamp   the same                                       1          which snapshot is the newest; it expires soon
//	(delegated) an association's technician                    1          files below the association's own paths
//
// A delegated role cannot delegate: there is only one level.
//
// # Rollback
//
// Timestamp and snapshot are saved once they are verified, and loaded before any new ones: an older version is then refused. What was
// saved under a key that the root no longer names fails verification, and is dropped. So if a stolen hub key signs a version far in
// the future, the box is blocked only until the root revokes that key (section 1.9 of the specification calls this a fast-forward
// attack).
//
// # Time
//
// A board's clock has no battery. Metadata expiry is compared with the latest of three times: when this program was built, the last
// day that was seen with a trusted clock, and the current time if the clock is trusted. With expired metadata, nothing is installed
// automatically, and nothing stops. Somebody who stands at the box may ignore the expiry ([Options.Expired]); signatures and versions
// are still checked.
package trust

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"passerelle/appliance/private"
)

// Source delivers the files of a repository. What it delivers is not trusted.
type Source interface {
	// Read returns the file of that name, relative to the repository, with slashes. The error is fs.ErrNotExist if the
	// repository has no such file. It must not return more than limit bytes; it may return an error instead.
	Read(ctx context.Context, name string, limit int64) ([]byte, error)
}

// Waiting is why a source is not read for now. What has begun resumes later.
type Waiting string

func (w Waiting) Error() string { return string(w) }

// IsWaiting tells whether an error only means waiting.
func IsWaiting(err error) bool {
	_, ok := errors.AsType[Waiting](err)
	return ok
}

// Folders of a repository.
const (
	MetadataFolder = "metadata"
	TargetsFolder  = "targets"
)

// Limits of metadata files whose size no signed file states, in bytes. A root with 9 keys has 3 kB. Targets with 50 delegations have
// 19 kB.
const (
	rootLimit      = 64 << 10
	timestampLimit = 16 << 10
	snapshotLimit  = 256 << 10
	targetsLimit   = 1 << 20
)

// maxRoots is how many roots one refresh follows. One new root a year would be many.
const maxRoots = 64

// Clock tells the time.
type Clock struct {
	Built time.Time                // of this program
	Now   func() (time.Time, bool) // the time, and whether it is trusted
}

// Options of a Trust.
type Options struct {
	Dir   string // of the saved files; created if it does not exist
	Root  []byte // the root that this program was built with
	Clock Clock
	// Expired ignores the expiry of metadata, for somebody who stands at the box.
	Expired bool
}

// Trust is the metadata that the box trusts.
type Trust struct {
	dir       string
	reference time.Time
	set       *trustedmetadata.TrustedMetadata
}

// File names in the folder, and in the metadata folder of a repository.
const (
	rootFile      = "root.json"
	timestampFile = "timestamp.json"
	snapshotFile  = "snapshot.json"
	lastFile      = "last" // RFC 3339: the last day that was seen with a trusted clock
)

// Open loads what the box saved. A saved root replaces the one that this program was built with if it is newer.
func Open(o Options) (*Trust, error) {
	t := &Trust{dir: o.Dir}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the trust: %w", err)
	}
	set, err := trustedmetadata.New(o.Root)
	if err != nil {
		return nil, fmt.Errorf("read the root that this program was built with: %w", refuse(rootFile, err))
	}
	if saved, err := t.saved(rootFile); err != nil {
		return nil, err
	} else if saved != nil {
		// The saved one was verified when it was saved. If it cannot be read, the card is damaged: the chain of roots is fetched
		// again.
		if s, err := trustedmetadata.New(saved); err == nil && s.Root.Signed.Version > set.Root.Signed.Version {
			set = s
		}
	}
	t.set = set
	if t.reference, err = t.time(o.Clock); err != nil {
		return nil, err
	}
	if o.Expired {
		t.reference = time.Time{}
	}
	t.set.RefTime = t.reference
	return t, nil
}

// time returns the time that expiry is compared with. If the clock is trusted, it saves the day.
func (t *Trust) time(c Clock) (time.Time, error) {
	reference := c.Built
	text, err := t.saved(lastFile)
	if err != nil {
		return reference, err
	}
	last, _ := time.Parse(time.RFC3339, strings.TrimSpace(string(text))) // the zero time if the file is damaged
	if last.After(reference) {
		reference = last
	}
	now, trusted := c.Now()
	if !trusted || !now.After(reference) {
		return reference, nil
	}
	if day := now.UTC().Truncate(24 * time.Hour); day.After(last) {
		if err := t.save(lastFile, []byte(day.Format(time.RFC3339)+"\n")); err != nil {
			return reference, err
		}
	}
	return now, nil
}

// Refresh reads the newest metadata from a source, and saves what it verified. The error is a [*Refusal] if the source delivered
// something that is not trusted; otherwise it is an error of the source or the disk.
func (t *Trust) Refresh(ctx context.Context, from Source) error {
	set := t.set
	// TrustedMetadata accepts each role once, in order: another refresh has to begin with the currently trusted root.
	fresh, err := again(set)
	if err != nil {
		return err
	}
	fresh.RefTime, t.set = t.reference, fresh
	if err := t.roots(ctx, from); err != nil {
		return err
	}
	if err := t.timestamp(ctx, from); err != nil {
		return err
	}
	if err := t.snapshot(ctx, from); err != nil {
		return err
	}
	return t.targets(ctx, from, metadata.TARGETS, metadata.ROOT)
}

func again(set *trustedmetadata.TrustedMetadata) (*trustedmetadata.TrustedMetadata, error) {
	text, err := set.Root.ToBytes(false)
	if err != nil {
		return nil, fmt.Errorf("begin with the trusted root: %w", err)
	}
	fresh, err := trustedmetadata.New(text)
	if err != nil {
		return nil, fmt.Errorf("begin with the trusted root: %w", refuse(rootFile, err))
	}
	return fresh, nil
}

// roots follows the chain of roots from the trusted one to the newest.
func (t *Trust) roots(ctx context.Context, from Source) error {
	for range maxRoots {
		name := fmt.Sprintf("%d.%s", t.set.Root.Signed.Version+1, rootFile)
		text, err := from.Read(ctx, path.Join(MetadataFolder, name), rootLimit)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("fetch %s: %w", name, err)
		}
		if _, err := t.set.UpdateRoot(text); err != nil {
			return refuse(name, err)
		}
		if err := t.save(rootFile, text); err != nil {
			return err
		}
	}
	return &Refusal{Damaged, rootFile, fmt.Errorf("more than %d roots in one chain", maxRoots)}
}

func (t *Trust) timestamp(ctx context.Context, from Source) error {
	saved, err := t.saved(timestampFile)
	if err != nil {
		return err
	}
	if saved != nil {
		// An expired one is loaded too, since its version still protects against rollback. One under a revoked key is not loaded.
		t.set.UpdateTimestamp(saved)
	}
	text, err := from.Read(ctx, path.Join(MetadataFolder, timestampFile), timestampLimit)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", timestampFile, err)
	}
	switch _, err := t.set.UpdateTimestamp(text); {
	case errors.Is(err, &metadata.ErrEqualVersionNumber{}): // the saved one is the newest, expired or not
		if t.set.Timestamp.Signed.IsExpired(t.reference) {
			return t.expired(timestampFile, t.set.Timestamp.Signed.Expires)
		}
		return nil
	case errors.Is(err, &metadata.ErrExpiredMetadata{}) && t.set.Root.Signed.IsExpired(t.reference):
		return t.expired(rootFile, t.set.Root.Signed.Expires)
	case errors.Is(err, &metadata.ErrExpiredMetadata{}):
		return t.expired(timestampFile, t.set.Timestamp.Signed.Expires)
	case err != nil:
		return refuse(timestampFile, err)
	}
	return t.save(timestampFile, text)
}

func (t *Trust) snapshot(ctx context.Context, from Source) error {
	want := t.set.Timestamp.Signed.Meta[snapshotFile]
	if want == nil {
		return &Refusal{Damaged, timestampFile, errors.New("it names no snapshot")}
	}
	saved, err := t.saved(snapshotFile)
	if err != nil {
		return err
	}
	if saved != nil {
		if _, err := t.set.UpdateSnapshot(saved, true); err == nil && want.VerifyLengthHashes(saved) == nil {
			return nil
		}
	}
	name := fmt.Sprintf("%d.%s", want.Version, snapshotFile)
	text, err := from.Read(ctx, path.Join(MetadataFolder, name), limit(want.Length, snapshotLimit))
	if err != nil {
		return fmt.Errorf("fetch %s: %w", name, err)
	}
	if _, err := t.set.UpdateSnapshot(text, false); err != nil {
		if s := t.set.Snapshot; s != nil && errors.Is(err, &metadata.ErrExpiredMetadata{}) {
			return t.expired(name, s.Signed.Expires)
		}
		return refuse(name, err)
	}
	return t.save(snapshotFile, text)
}

// targets loads the targets of a role.
func (t *Trust) targets(ctx context.Context, from Source, role, parent string) error {
	if t.set.Targets[role] != nil {
		return nil
	}
	file := role + ".json"
	want := t.set.Snapshot.Signed.Meta[file]
	if want == nil {
		return &Refusal{Missing, file, errors.New("the snapshot does not name it")}
	}
	saved, err := t.saved(file)
	if err != nil {
		return err
	}
	if saved != nil {
		if _, err := t.set.UpdateDelegatedTargets(saved, role, parent); err == nil {
			return nil
		}
	}
	name := fmt.Sprintf("%d.%s", want.Version, file)
	text, err := from.Read(ctx, path.Join(MetadataFolder, name), limit(want.Length, targetsLimit))
	if err != nil {
		return fmt.Errorf("fetch %s: %w", name, err)
	}
	if _, err := t.set.UpdateDelegatedTargets(text, role, parent); err != nil {
		return refuse(name, err)
	}
	return t.save(file, text)
}

// Target is a file that a role has signed.
type Target struct {
	Path   string // without the targets folder and the hash
	Role   string
	Size   int64
	SHA256 [32]byte
	Custom []byte // JSON that is signed beside it; nil if there is none
}

// Releases returns the targets of the release role below a folder, in no order. Refresh must have succeeded.
func (t *Trust) Releases(folder string) ([]Target, error) {
	signed := t.set.Targets[metadata.TARGETS]
	if signed == nil {
		return nil, errNotFresh
	}
	var found []Target
	for name, file := range signed.Signed.Targets {
		if !strings.HasPrefix(name, folder+"/") {
			continue
		}
		target, err := newTarget(name, metadata.TARGETS, file)
		if err != nil {
			return nil, err
		}
		found = append(found, target)
	}
	return found, nil
}

var errNotFresh = errors.New("no metadata is loaded: Refresh comes first")

var roleName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// Find returns the target of a path: the release role's, otherwise that of the first role to which the path is delegated. A role is
// not asked for paths outside its delegation. Refresh must have succeeded.
func (t *Trust) Find(ctx context.Context, from Source, name string) (Target, error) {
	signed := t.set.Targets[metadata.TARGETS]
	if signed == nil {
		return Target{}, errNotFresh
	}
	if file := signed.Signed.Targets[name]; file != nil {
		return newTarget(name, metadata.TARGETS, file)
	}
	if d := signed.Signed.Delegations; d != nil {
		for _, role := range d.GetRolesForTarget(name) {
			if err := CheckRole(role.Name); err != nil {
				return Target{}, &Refusal{Damaged, metadata.TARGETS + ".json", err}
			}
			if err := t.targets(ctx, from, role.Name, metadata.TARGETS); err != nil {
				return Target{}, err
			}
			if file := t.set.Targets[role.Name].Signed.Targets[name]; file != nil {
				return newTarget(name, role.Name, file)
			}
			if role.Terminating {
				break
			}
		}
	}
	return Target{}, &Refusal{Missing, name, errors.New("no role has signed it")}
}

// Below returns the targets directly in a folder, sorted by path: for each path the one that Find returns. It leaves out what a role
// signs outside of its delegation. Refresh must have succeeded.
func (t *Trust) Below(ctx context.Context, from Source, folder string) ([]Target, error) {
	signed := t.set.Targets[metadata.TARGETS]
	if signed == nil {
		return nil, errNotFresh
	}
	names := map[string]bool{}
	add := func(files map[string]*metadata.TargetFiles) {
		for name := range files {
			if path.Dir(name) == folder {
				names[name] = true
			}
		}
	}
	add(signed.Signed.Targets)
	// Delegated patterns end with a star, so any name in the folder shows which roles may sign in it. Find loads these roles.
	_, err := t.Find(ctx, from, path.Join(folder, "any"))
	if refusal, ok := errors.AsType[*Refusal](err); err != nil && !(ok && refusal.Reason == Missing) {
		return nil, err
	}
	for role, loaded := range t.set.Targets {
		if role != metadata.TARGETS {
			add(loaded.Signed.Targets)
		}
	}
	var found []Target
	for _, name := range slices.Sorted(maps.Keys(names)) {
		target, err := t.Find(ctx, from, name)
		if refusal, ok := errors.AsType[*Refusal](err); ok && refusal.Reason == Missing {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, target)
	}
	return found, nil
}

// CheckRole returns an error if a delegated role cannot have a name. The name becomes part of a file name, and must not be a top-level
// role's.
func CheckRole(name string) error {
	switch {
	case !roleName.MatchString(name):
		return fmt.Errorf("%q is no name of a role: small letters, digits and hyphens, at most 40", name)
	case slices.Contains([]string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP}, name):
		return fmt.Errorf("%q is a role already", name)
	}
	return nil
}

func newTarget(name, role string, file *metadata.TargetFiles) (Target, error) {
	t := Target{Path: name, Role: role, Size: file.Length}
	hash := file.Hashes["sha256"]
	if len(hash) != len(t.SHA256) || file.Length < 0 || !fs.ValidPath(name) {
		return Target{}, &Refusal{Damaged, role + ".json", fmt.Errorf("target %q has no usable path, size or SHA-256", name)}
	}
	copy(t.SHA256[:], hash)
	if file.Custom != nil {
		t.Custom = *file.Custom
	}
	return t, nil
}

// File returns the target's name in a repository: with consistent snapshots the hash is a prefix of the name (section 6.2 of the
// specification).
func (t Target) File() string {
	dir, base := path.Split(t.Path)
	return path.Join(TargetsFolder, dir, hex.EncodeToString(t.SHA256[:])+"."+base)
}

// Hashed returns the name in a repository of a file that a target names by its SHA-256, in a folder.
func Hashed(folder string, sum [32]byte) string {
	name := hex.EncodeToString(sum[:])
	return path.Join(TargetsFolder, folder, name[:2], name)
}

// Fetch returns the verified bytes of a target, which may have at most limit bytes.
func Fetch(ctx context.Context, from Source, t Target, limit int64) ([]byte, error) {
	if t.Size > limit {
		return nil, &Refusal{Damaged, t.Path, fmt.Errorf("it has %d bytes, at most %d are taken", t.Size, limit)}
	}
	text, err := from.Read(ctx, t.File(), t.Size)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", t.Path, err)
	}
	file := metadata.TargetFiles{Length: t.Size, Hashes: metadata.Hashes{"sha256": t.SHA256[:]}}
	if err := file.VerifyLengthHashes(text); err != nil {
		return nil, refuse(t.Path, err)
	}
	return text, nil
}

// Until returns the earliest expiry of the loaded top-level files. Refresh must have succeeded.
func (t *Trust) Until() time.Time {
	until := t.set.Root.Signed.Expires
	for _, other := range []time.Time{t.set.Timestamp.Signed.Expires, t.set.Snapshot.Signed.Expires, t.set.Targets[metadata.TARGETS].Signed.Expires} {
		if other.Before(until) {
			until = other
		}
	}
	return until
}

// RootVersion returns the version of the trusted root.
func (t *Trust) RootVersion() int64 { return t.set.Root.Signed.Version }

// limit returns the signed size of a file, or most if no size is signed or it is larger.
func limit(signed, most int64) int64 {
	if signed > 0 && signed < most {
		return signed
	}
	return most
}

// saved returns a file of the folder, nil if it does not exist.
func (t *Trust) saved(name string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(t.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the trust: %w", err)
	}
	return text, nil
}

func (t *Trust) save(name string, text []byte) error {
	file := filepath.Join(t.dir, name)
	if err := private.WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("save the trust: %w", err)
	}
	return nil
}
