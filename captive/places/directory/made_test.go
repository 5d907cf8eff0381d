package directory

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// header is the standard's header, as the official exporter writes it.
const header = `"id","pivot","nom","commune","code_postal","code_insee","adresse","complement_adresse","latitude","longitude",` +
	`"typologie","telephone","courriels","site_web","horaires","presentation_resume","presentation_detail","source",` +
	`"itinerance","structure_parente","date_maj","services","publics_specifiquement_adresses","prise_en_charge_specifique",` +
	`"frais_a_charge","dispositif_programmes_nationaux","formations_labels","autres_formations_labels","modalites_acces",` +
	`"modalites_accompagnement","fiche_acces_libre","prise_rdv"`

// made returns a file of n made-up places all over France, which is always the same. As real files do, it has several thousand
// different hours, texts of some hundred characters, and quotation marks that are not escaped.
func made(n int) string {
	rnd := rand.New(rand.NewPCG(20, 26))
	pick := func(all ...string) string { return all[rnd.IntN(len(all))] }
	some := func(terms []Term, most int) string {
		var out []string
		for _, i := range rnd.Perm(len(terms))[:rnd.IntN(min(most, len(terms))+1)] {
			out = append(out, terms[i].Label)
		}
		return strings.Join(out, "|")
	}
	syllable := func() string {
		return pick("ba", "ché", "dro", "fou", "gui", "lan", "mer", "nau", "pli", "quen", "ri", "sau", "tour", "va", "ze", "mon", "lys", "court")
	}
	word := func() string {
		w := syllable() + syllable()
		if rnd.IntN(2) == 0 {
			w += syllable()
		}
		return strings.ToUpper(w[:1]) + w[1:]
	}
	towns := make([]string, 3000)
	for i := range towns {
		towns[i] = pick("", "Saint-", "La ", "Le ", "Bourg-") + word() + pick("", "", "-sur-"+word(), "-lès-"+word())
	}
	sentence := func() string {
		var out []string
		for range 8 + rnd.IntN(20) {
			out = append(out, pick("nous", "aidons", "les", "personnes", "à", "utiliser", "ordinateur", "tablette", "démarches",
				"en ligne", "ateliers", "chaque", "semaine", "accueil", "libre", "avec", "un conseiller", "pour tous", strings.ToLower(word())))
		}
		return strings.Join(out, " ") + "."
	}
	hours := func() string {
		clock := func(h int) string { return fmt.Sprintf("%02d:%02d", h, 15*rnd.IntN(4)) }
		morning, afternoon := clock(8+rnd.IntN(2))+"-"+clock(12), clock(13)+"-"+clock(16+rnd.IntN(3))
		switch rnd.IntN(10) {
		case 0:
			return ""
		case 1:
			return "Mo-Fr " + morning + " sur rendez-vous"
		case 2:
			return "Tu,Th " + morning + "," + afternoon + "; PH off"
		case 3:
			return "Mo-Fr " + morning + "; Sa[1] " + morning
		case 4:
			return "Mo-We " + morning + "," + afternoon + "; Th " + morning + "; Fr " + morning + "," + afternoon + "; Sa " + morning
		}
		return "Mo-Fr " + morning + "," + afternoon
	}
	var b strings.Builder
	b.WriteString(header + "\n")
	for i := range n {
		town := rnd.IntN(len(towns))
		name := pick("Médiathèque ", "Centre social ", "Mairie de ", "France Services ", `Association "Le Fil" `, "Espace public numérique ") + word()
		postcode := fmt.Sprintf("%02d%03d", 1+town%95, town%900)
		lat := 43 + float64(town%95)*0.07 + rnd.Float64()*0.05
		lon := -1 + float64(town%61)*0.1 + rnd.Float64()*0.05
		cells := []string{
			fmt.Sprintf("lieu-%d", i), "00000000000000", name, towns[town], postcode, "", fmt.Sprintf("%d rue %s", 1+rnd.IntN(90), word()), pick("", "", "Bâtiment B"),
			fmt.Sprintf("%.6f", lat), fmt.Sprintf("%.6f", lon), pick("BIB", "CS|ASSO", "MUNI", "RFS", ""),
			fmt.Sprintf("+33%d%08d", 1+rnd.IntN(5), rnd.IntN(100_000_000)), fmt.Sprintf("contact%d@exemple.fr", i), fmt.Sprintf("https://www.lieu%d.exemple.fr/", i),
			hours(), sentence(), pick("", sentence()+" "+sentence()), pick("Hub fictif", "Les exemples"), pick("", "Fixe", "Itinérant"),
			pick("", "Commune de "+towns[town]), fmt.Sprintf("2026-%02d-%02d", 1+rnd.IntN(10), 1+rnd.IntN(28)),
			some(Services, 6), some(Audiences, 1), some(Care, 2), pick("", "Gratuit", "Gratuit sous condition"), some(Programmes, 2), some(Labels, 1), "",
			pick("Se présenter|Téléphoner", "Se présenter", "Ce lieu n'accueille pas de public"), some(Modes, 3), "", pick("", "https://rdv.exemple.fr/"),
		}
		b.WriteString(`"` + strings.Join(cells, `","`) + "\"\n")
	}
	return b.String()
}

var today = time.Date(2026, 11, 30, 10, 30, 0, 0, time.UTC)

func importer(dir string) Importer {
	return Importer{Dir: dir, Now: func() time.Time { return today }}
}

// imported imports a text, and opens the lists.
func imported(t testing.TB, text string) (*Directory, Report) {
	t.Helper()
	dir := t.TempDir()
	report, err := importer(dir).Read(t.Context(), strings.NewReader(text), int64(len(text)), "essai.csv", "")
	if err != nil {
		t.Fatal(err)
	}
	return opened(t, dir), report
}

func opened(t testing.TB, dir string) *Directory {
	t.Helper()
	d, problems := Open(dir)
	for _, err := range problems {
		t.Error(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func write(t testing.TB, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "essai.csv")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
