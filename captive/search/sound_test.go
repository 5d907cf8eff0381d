package search

import (
	"strings"
	"testing"
)

// TestSound: words that are spelt by ear have the same sound as the right spelling, and other words do not.
func TestSound(t *testing.T) {
	t.Parallel()
	for _, same := range []string{
		"arnaque arnak arnaquer arnaqué arnaques arnacque", "boulot boulo boulots", "chomage chaumage", "wifi ouifi wiffi wify",
		"whatsapp watsap ouatsap watsapp", "impots inpots impot", "motivation motivasion motivassion", "telephone telefone téléfone",
		"attestation atestation", "allocation alocation", "reseau rezo réso", "securite sécuritée securiter",
		"passe pase", "message messaje", "photo foto", "piraté pirater piratait",
	} {
		words := strings.Fields(Fold(same))
		for _, w := range words[1:] {
			if sound(w) != sound(words[0]) {
				t.Errorf("%s sounds %s, and %s %s", w, sound(w), words[0], sound(words[0]))
			}
		}
	}
	for _, other := range []string{"vin vent", "mode mot", "chat tchat", "voter voler", "carte courte", "jeu jeune", "banque blanc"} {
		a, b, _ := strings.Cut(other, " ")
		if sound(a) == sound(b) {
			t.Errorf("%s and %s both sound %s", a, b, sound(a))
		}
	}
	for _, none := range []string{"", "17cyber", "пароль", "كلمة", "mo", "a"} {
		if n := soundOf(none); n != 0 {
			t.Errorf("%s has a sound", none)
		}
	}
}

func FuzzSound(f *testing.F) {
	for _, w := range []string{"", "e", "h", "ch", "tion", "eaux", "zzz", "aillier", "été"} {
		f.Add(w)
	}
	f.Fuzz(func(t *testing.T, w string) {
		folded := stem(Fold(w))
		if s := sound(folded); len(s) > 2*len(folded) || s != sound(folded) {
			t.Errorf("%q sounds %q", folded, s)
		}
	})
}
