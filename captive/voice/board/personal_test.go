package board

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// texts are texts that a resident may post, with what each says about its author.
var texts = []struct{ text, found string }{
	// Telephone numbers.
	{"Appelez le 06 12 34 56 78", Phone},
	{"Appelez le 0612345678", Phone},
	{"06.12.34.56.78", Phone},
	{"06-12-34-56-78 le soir", Phone},
	{"06/12/34/56/78", Phone},
	{"06,12,34,56,78", Phone},
	{"06 12 34\n56 78", Phone},
	{"06\u00a012\u00a034\u00a056\u00a078", Phone},
	{"06 – 12 – 34 – 56 – 78", Phone},
	{"01 40 00 00 00", Phone},
	{"0800 123 456 gratuit", Phone},
	{"(06) 12 34 56 78", Phone},
	{"Perceuse 18 V, 0612 345 678", Phone},
	{"2 chaises : 06 12 34 56 78", Phone},
	{"O6 12 34 56 78", Phone},
	{"zéro six douze trente-quatre cinquante-six soixante-dix-huit", Phone},
	{"ZERO SIX DOUZE TRENTE QUATRE CINQUANTE SIX QUATRE-VINGT-DOUZE", Phone},
	{"zéro six vingt et un quarante soixante et onze quatre-vingts", Phone},
	{"zéro 6 douze 34 cinquante-six 78", Phone},
	{"zéro sept, un deux trois quatre cinq six sept huit", Phone},
	{"six douze trente-quatre cinquante-six soixante-dix-huit", Phone},
	{"6 12 34 56 78", Phone},
	{"+33 6 12 34 56 78", Phone},
	{"+33 (0)6 12 34 56 78", Phone},
	{"0033 6 12 34 56 78", Phone},
	{"33 6 12 34 56 78", Phone},
	{"+213 555 12 34 56", Phone},
	{"+380 67 123 45 67", Phone},
	{"(+351) 912 345 678", Phone},
	{"07911 123456", Phone},
	{"612 345 678", Phone},
	{"0️⃣6️⃣1️⃣2️⃣3️⃣4️⃣5️⃣6️⃣7️⃣8️⃣", Phone},
	{"0️⃣6️⃣ 1️⃣2️⃣ 3️⃣4️⃣ 5️⃣6️⃣ 7️⃣8️⃣", Phone},
	{"０６１２３４５６７８", Phone},
	{"٠٦ ١٢ ٣٤ ٥٦ ٧٨", Phone},
	{"⓪⑥ ①② ③④ ⑤⑥ ⑦⑧", Phone},
	{"06\u200b12\u200b34\u200b56\u200b78", Phone},
	{"zero six one two three four five six seven eight", Phone},
	{"cero seis uno dos tres cuatro cinco seis siete ocho", Phone},
	{"нуль шість один два три чотири п’ять шість сім вісім", Phone},
	{"صفر ستة واحد اثنان ثلاثة أربعة خمسة ستة سبعة ثمانية", Phone},
	{"le 12/12/2026 06 12 34 56 78", Phone},

	// Mail addresses, and names in social networks.
	{"marie.dupont@exemple.fr", Mail + " " + Link},
	{"marie＠exemple", Mail},
	{"marie @ exemple . fr", Mail + " " + Link},
	{"marie (at) exemple point fr", Mail + " " + Link},
	{"marie[at]exemple", Mail},
	{"marie arobase gmail", Mail},
	{"marie arobase exemple point fr", Mail + " " + Link},
	{"marie at exemple dot org", Mail + " " + Link},
	{"marie.dupont gmail com", Mail},
	{"marie chez gmail point com", Mail + " " + Link},
	{"insta : @marie_93", Mail},

	// Links.
	{"https://exemple.test/a", Link},
	{"HTTP : //exemple", Link},
	{"www.exemple.test", Link},
	{"voir exemple.fr", Link},
	{"voir exemple . com", Link},
	{"EXEMPLE.COM", Link},
	{"exemple point com", Link},
	{"exemple(.)fr", Link},
	{"t.me/marie", Link},
	{"bit.ly/x12", Link},

	// Signatures.
	{"Je prête une perceuse.\nCordialement, Marie Dupont", Name},
	{"Je prête une perceuse. cordialement marie", Name},
	{"Bien cordialement,\nM. Dupont", Name},
	{"Perceuse à prêter.\nMerci, Ahmed", Name},
	{"Perceuse à prêter. Merci !\nFatima B.", Name},
	{"Perceuse à prêter — Ahmed", Name},
	{"Perceuse à prêter.\n- Ahmed", Name},
	{"Perceuse à prêter. – Marie-Thérèse Le Goff 🙂", Name},
	{"Je répare les vélos.\nAhmed", Name},
	{"Bonjour, je m’appelle Sofia et je cherche une table", Name},
	{"bonjour je m'appelle sofia", Name},
	{"bonjour je mappelle sofia", Name},
	{"Moi c’est Karim, je bricole", Name},
	{"Je suis Marie et je répare", Name},
	{"Demandez M. Durand", Name},
	{"voir Mme Diallo", Name},
	{"voir mme diallo", Name},
	{"Monsieur Martin prête une échelle", Name},
	{"Nom : Diallo", Name},
	{"Mon prénom est Léa", Name},
	{"Me llamo Lucía", Name},
	{"Chamo-me João", Name},
	{"Мене звати Олена", Name},
	{"اسمي أحمد", Name},
	{"I can drive. Regards, John", Name},
	{"أصلح الدراجات. مع تحياتي، أحمد", Name},
	{"De la part de Marie", Name},

	// More than one.
	{"Marie Dupont, 06 12 34 56 78, marie@exemple.fr", Phone + " " + Mail + " " + Link},

	// Texts that must pass.
	{"", ""},
	{"Je prête 2 chaises", ""},
	{"Perceuse 18 V", ""},
	{"Je prête une perceuse 18 V, 2 batteries, 1 chargeur.", ""},
	{"le 12 décembre à 14 h", ""},
	{"Le 12/12/2026 à 14 h 30", ""},
	{"du 01/12/2026 au 24/12/2026", ""},
	{"du 01.12.2026 - 24.12.2026 10:00", ""},
	{"le 2026-12-24", ""},
	{"année scolaire 2026-2027", ""},
	{"samedi 09:00 - 12:00, 14:00 - 18:00", ""},
	{"9h-12h ou 14h30-18h00", ""},
	{"3 heures par semaine", ""},
	{"code postal 69003", ""},
	{"Une table 120 x 60 x 75 cm", ""},
	{"Table de 120 sur 60, 75 cm de haut", ""},
	{"Chaussures, tailles 36 37 38 39 40", ""},
	{"Vêtements 2, 4, 6, 8 ans", ""},
	{"Machine de 1 200 W, payée 1 250 000 francs", ""},
	{"Appeler le 115 ou le 3919", ""},
	{"Un, deux ou trois jours", ""},
	{"Objectif zéro déchet : je donne six bocaux", ""},
	{"Je demande dix minutes, une ou deux fois par mois", ""},
	{"4 personnes, 2 enfants, 1 chien", ""},
	{"Cours de maths niveau 6e, 5e, 4e et 3e", ""},
	{"Je cherche quelqu’un pour m’aider avec mon adresse mail", ""},
	{"J’apprends à taper l’arobase et le point", ""},
	{"Je vous aide à créer une adresse Gmail, ou sur Orange", ""},
	{"2 repas @ 5 €", ""},
	{"Merci.Je suis disponible samedi", ""},
	{"Je suis libre le samedi.Me laisser un mot", ""},
	{"Aller et/ou retour vers St.Denis", ""},
	{"Vélo 26 pouces. Frein avant à régler. 1,5 bar", ""},
	{"Merci !", ""},
	{"Merci beaucoup.\nBonne journée", ""},
	{"Merci d’avance, Bonne Journée", ""},
	{"Cordialement", ""},
	{"Cordialement et merci à tous", ""},
	{"Disponible le soir.\nSamedi aussi, ou dimanche", ""},
	{"Je prête :\nPerceuse Bosch", ""},
	{"- Perceuse\n- Scie\n- Échelle de 3 m", ""},
	{"Je suis disponible le mardi", ""},
	{"Je suis Retraité, j’aide aux devoirs", ""},
	{"Je suis Français, je cherche à parler arabe", ""},
	{"Bonjour Madame, Monsieur, je cherche un lit", ""},
	{"Je cherche une dame ou un monsieur pour lire", ""},
	{"Je peux vous accompagner à la Caf ou chez France Services", ""},
	{"Je prête une échelle de 3 m. De préférence le soir", ""},
	{"I can teach English, 2 hours a week. Thanks!", ""},
	{"Enseño español los lunes. Gracias", ""},
	{"Допоможу з українською мовою, 2 години", ""},
	{"أعلم العربية يوم السبت. شكرا", ""},
}

func TestPersonal(t *testing.T) {
	t.Parallel()
	for _, test := range texts {
		var found []string
		for _, f := range Personal(test.text) {
			found = append(found, f.What)
			if f.Part == "" || !strings.Contains(test.text, f.Part) {
				t.Errorf("%q: %s is %q, not a part of it", test.text, f.What, f.Part)
			}
		}
		if got := strings.Join(found, " "); got != test.found {
			t.Errorf("%q: found %q, want %q: %q", test.text, got, test.found, Personal(test.text))
		}
	}
}

// The part is exactly what the author has to remove.
func TestPersonalPart(t *testing.T) {
	t.Parallel()
	for text, part := range map[string]string{
		"Deux chaises, 0️⃣6️⃣ 12 34 56 78 le soir":               "0️⃣6️⃣ 12 34 56 78",
		"zéro six douze trente-quatre 56 78, merci":              "zéro six douze trente-quatre 56 78",
		"Perceuse à prêter.\nMerci, Ahmed Élie":                  "Merci, Ahmed Élie",
		"Écrire à « marie＠exemple.test » ou passer à l’accueil.": "marie＠exemple.test",
	} {
		found := Personal(text)
		if len(found) != 1 || found[0].Part != part {
			t.Errorf("%q: %q, want %q", text, found, part)
		}
	}
}

func FuzzPersonal(f *testing.F) {
	for _, test := range texts {
		f.Add(test.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = Clean(text)
		if !utf8.ValidString(text) || Clean(text) != text {
			t.Fatalf("%q is not clean", text)
		}
		for _, found := range Personal(text) {
			if found.Part == "" || !strings.Contains(text, found.Part) {
				t.Errorf("%q: %q is no part of it", text, found)
			}
		}
	})
}
