package directory

import (
	"strings"
	"testing"
	"time"
)

const many = 20_000

func BenchmarkImport(b *testing.B) {
	text := made(many)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := importer(b.TempDir()).Read(b.Context(), strings.NewReader(text), int64(len(text)), "essai.csv", ""); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	text, dir := made(many), b.TempDir()
	if _, err := importer(dir).Read(b.Context(), strings.NewReader(text), int64(len(text)), "essai.csv", ""); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		d, _ := Open(dir)
		d.Close()
	}
}

func BenchmarkFind(b *testing.B) {
	d, _ := imported(b, made(many))
	paris := &Point{48.86, 2.35}
	now := time.Date(2026, 9, 7, 10, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name   string
		query  Query
		offset int
	}{
		{"nearest", Query{From: paris}, 0},
		{"far", Query{From: paris}, 10_000},
		{"alphabet", Query{}, 0},
		{"services", Query{From: paris, Services: Procedures, Free: true}, 0},
		{"open", Query{From: paris, Now: now, OpenNow: true}, 0},
		{"words", Query{From: paris, Words: "mediatheque tourva"}, 0},
		{"common", Query{From: paris, Words: "numérique"}, 0},
		{"wrong", Query{From: paris, Words: "mediatheqeu numerriques"}, 0},
		{"letters", Query{From: paris, Words: "a b c d e f g h i j k l"}, 0},
		{"unknown", Query{From: paris, Words: "zqvkawoxbu zqvkbwoxcu zqvkcwoxdu zqvkdwoxeu zqvkewoxfu zqvkfwoxgu"}, 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := d.Find(c.query, c.offset, 12); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	// The first query of a day, and the first of a public holiday, when many hours must be parsed.
	for name, day := range map[string]time.Time{"day": now, "holiday": time.Date(2026, 7, 14, 10, 0, 0, 0, time.UTC)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				d.days = nil
				if _, _, err := d.Find(Query{From: paris, Now: day, OpenNow: true}, 0, 12); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("Place", func(b *testing.B) {
		id := hashID("lieu-19999")
		for b.Loop() {
			if _, err := d.Place(id); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Postcode", func(b *testing.B) {
		for b.Loop() {
			d.Postcode("75020")
		}
	})
}
