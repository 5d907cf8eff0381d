package demo

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html"
	"net/http"
	"os"
	"regexp"
	"strings"
)

// nearby is a list of fictional places as the national standard's exporter writes it: a quotation mark in a cell is not escaped.
//
//go:embed places.csv
var nearby []byte

// findHelp finds a bus that helps with procedures, while there is no internet.
func (s *environment) findHelp(ctx context.Context) (string, error) {
	file := s.Box.Path("/lieux.csv")
	if err := os.WriteFile(file, nearby, 0o600); err != nil {
		return "", err
	}
	said, err := s.daemon.Do(ctx, "places", "import", "--name", "voisins", "--state", s.daemon.State, file)
	if err != nil {
		return "", err
	}
	said = strings.TrimSpace(said)
	seen := "a technician imports a list of places from a stick: " + said[strings.LastIndex(said, "\n")+1:]
	first, err := s.page(ctx, "/")
	if err != nil {
		return seen, err
	}
	if !strings.Contains(first, `href="/needs`) {
		return seen, errors.New("the first page has no link to /needs")
	}
	list, err := s.page(ctx, "/places?bus=1")
	if err != nil {
		return seen, err
	}
	link := placeLink.FindStringSubmatch(list)
	if link == nil {
		return seen, errors.New("no bus is found")
	}
	place, err := s.page(ctx, link[1])
	if err != nil {
		return seen, err
	}
	phone := phoneLink.FindStringSubmatch(html.UnescapeString(place))
	if phone == nil {
		return seen, errors.New("the bus has no telephone number")
	}
	return lines(seen, fmt.Sprintf("Chloé finds “%s”, and calls %s: two presses, no byte of a line", title(place), phone[1])), nil
}

// Links to a place, and to a telephone number.
var (
	placeLink = regexp.MustCompile(`href="(/places/[0-9a-f]{16})`)
	phoneLink = regexp.MustCompile(`href="tel:([+0-9]+)"`)
)

// page returns a page of the box as Chloé's phone receives it.
func (s *environment) page(ctx context.Context, path string) (string, error) {
	reply, err := s.get(ctx, s.chloe.Host, s.portal()+html.UnescapeString(path))
	if err == nil && reply.Status != http.StatusOK {
		err = fmt.Errorf("%s is answered %d", path, reply.Status)
	}
	return reply.Body, err
}
