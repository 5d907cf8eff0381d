package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"passerelle/appliance/fleet/protocol"
)

// Person is somebody who may use the dashboard.
type Person struct {
	Name        string    `json:"name"`
	Association string    `json:"association,omitempty"` // whose boxes they see; "" for the whole federation
	Since       time.Time `json:"since"`
}

// ofPeople is the prefix of the keys of people's records. The hash of the person's code follows it.
const ofPeople = "person."

// maxPersonName bounds a person's name, in characters, since a command's author is shown on the box.
const maxPersonName = 60

// AddPerson makes a code for somebody, in place of the one that they had, and returns it. The code is stored nowhere. Without an association
// they see the whole federation.
func (r *Registry) AddPerson(ctx context.Context, author, name, association string) (code string, err error) {
	if name == "" || name != strings.TrimSpace(name) || utf8.RuneCountInString(name) > maxPersonName ||
		strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", fmt.Errorf("%q: a person's name is one line of at most %d characters", name, maxPersonName)
	}
	if association != "" {
		if err := r.checkAssociation(ctx, association); err != nil {
			return "", err
		}
	}
	code, key, err := r.newCode(ofPeople)
	if err != nil {
		return "", err
	}
	if err := r.audit(ctx, author, "add person", name, association); err != nil {
		return "", err
	}
	if err := r.dropPerson(ctx, name); err != nil && !errors.Is(err, errNobody) {
		return "", err
	}
	return code, put(ctx, r, key, Person{Name: name, Association: association, Since: r.now().UTC()}, 0)
}

// errNobody says that no person has that name.
var errNobody = errors.New("nobody is called so")

// RemovePerson ends somebody's code.
func (r *Registry) RemovePerson(ctx context.Context, author, name string) error {
	if err := r.audit(ctx, author, "remove person", name, ""); err != nil {
		return err
	}
	return r.dropPerson(ctx, name)
}

func (r *Registry) dropPerson(ctx context.Context, name string) error {
	all, err := r.people(ctx)
	if err != nil {
		return err
	}
	found := false
	for key, p := range all {
		if p.Name == name {
			found = true
			if err := r.values.Delete(ctx, key); err != nil {
				return fmt.Errorf("remove %q: %w", name, err)
			}
		}
	}
	if !found {
		return fmt.Errorf("remove %q: %w", name, errNobody)
	}
	return nil
}

// People returns who may use the dashboard, sorted by name.
func (r *Registry) People(ctx context.Context) ([]Person, error) {
	all, err := r.people(ctx)
	if err != nil {
		return nil, err
	}
	list := []Person{}
	for _, p := range all {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Person) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (r *Registry) people(ctx context.Context) (map[string]Person, error) {
	keys, err := r.values.ListKeysFiltered(ctx, ofPeople+">")
	if err != nil {
		return nil, fmt.Errorf("list the people: %w", err)
	}
	defer keys.Stop()
	all := map[string]Person{}
	for key := range keys.Keys() {
		p, revision, err := get[Person](ctx, r, key)
		if err != nil {
			return nil, err
		}
		if revision != 0 { // otherwise it was removed meanwhile
			all[key] = p
		}
	}
	return all, nil
}

// Person returns the person whose code that is, as they type it. ok is false if it is nobody's. Its caller must limit the rate of wrong codes.
func (r *Registry) Person(ctx context.Context, typed string) (p Person, ok bool, err error) {
	key, err := r.codeKey(ofPeople, typed)
	if errors.Is(err, protocol.ErrCode) {
		return Person{}, false, nil
	}
	if err != nil {
		return Person{}, false, err
	}
	p, revision, err := get[Person](ctx, r, key)
	return p, err == nil && revision != 0, err
}
