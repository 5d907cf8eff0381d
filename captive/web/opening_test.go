package web

import (
	"strings"
	"testing"
	"time"

	"passerelle/appliance/hours"
)

// at is a time in November 2026; the 21st is a Saturday.
func at(day, hour, minute int) time.Time {
	return time.Date(2026, 11, day, hour, minute, 0, 0, time.FixedZone("CET", 3600))
}

// schedule parses opening hours.
func schedule(t *testing.T, text string) *hours.Schedule {
	t.Helper()
	s, err := hours.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOpen(t *testing.T) {
	t.Parallel()
	const week = "Mo-Fr 09:00-12:00,14:00-18:00"
	for _, test := range []struct {
		hours string
		now   time.Time
		open  bool
		want  said
	}{
		{week, at(20, 15, 0), true, said{"fr": "Ouvert aujourd’hui jusqu’à 18 h", "en": "Open today until 6 pm",
			"es": "Abierto hoy hasta las 18:00", "pt": "Aberto hoje até às 18h", "uk": "Сьогодні відчинено до 18:00",
			"ar": "مفتوح اليوم حتى الساعة 18:00"}},
		{week, at(20, 9, 0), true, said{"fr": "Ouvert aujourd’hui jusqu’à midi", "en": "Open today until noon",
			"es": "Abierto hoy hasta el mediodía", "pt": "Aberto hoje até ao meio-dia", "uk": "Сьогодні відчинено до полудня",
			"ar": "مفتوح اليوم حتى منتصف النهار"}},
		{week, at(21, 15, 0), false, said{"fr": "Fermé pour le moment, ouvre lundi 23 novembre à 9 h",
			"en": "Closed at the moment, opens on Monday 23 November at 9 am",
			"es": "Cerrado por el momento, abre el lunes 23 de noviembre a las 9:00",
			"pt": "Fechado de momento, abre na segunda-feira, 23 de novembro, às 9h",
			"uk": "Зараз зачинено, відчиниться у понеділок, 23 листопада, о 9:00",
			"ar": "مغلق الآن، يفتح يوم الاثنين 23 نوفمبر على الساعة 9:00"}},
		{"24/7", at(20, 15, 0), true, said{"fr": "Ouvert jour et nuit", "en": "Open day and night",
			"es": "Abierto día y noche", "pt": "Aberto dia e noite", "uk": "Відчинено вдень і вночі", "ar": "مفتوح ليلا ونهارا"}},
		{"Mo-Su 18:00-01:00", at(20, 20, 0), true, said{"fr": "Ouvert en ce moment, ferme demain à 1 h",
			"en": "Open now, closes tomorrow at 1 am", "es": "Abierto ahora, cierra mañana a la 1:00",
			"pt": "Aberto agora, fecha amanhã à 1h", "uk": "Зараз відчинено, зачиниться завтра о 1:00",
			"ar": "مفتوح الآن، يغلق غدا على الساعة 1:00"}},
		{"Mo-Su 18:00-24:00", at(20, 20, 0), true, said{"fr": "Ouvert aujourd’hui jusqu’à minuit",
			"en": "Open today until midnight", "es": "Abierto hoy hasta medianoche", "pt": "Aberto hoje até à meia-noite",
			"uk": "Сьогодні відчинено до півночі", "ar": "مفتوح اليوم حتى منتصف الليل"}},
		{"Mo-Su 09:00-13:30", at(20, 13, 0), true, said{"fr": "Ouvert aujourd’hui jusqu’à 13 h 30",
			"en": "Open today until 1:30 pm", "es": "Abierto hoy hasta las 13:30", "pt": "Aberto hoje até às 13h30",
			"uk": "Сьогодні відчинено до 13:30", "ar": "مفتوح اليوم حتى الساعة 13:30"}},
		{"off", at(20, 15, 0), false, said{"fr": "Fermé pour le moment", "en": "Closed at the moment",
			"es": "Cerrado por el momento", "pt": "Fechado de momento", "uk": "Зараз зачинено", "ar": "مغلق الآن"}},
	} {
		s := schedule(t, test.hours)
		test.want.check(t, test.hours, func(w *Words) string {
			_, text := w.Open(s, test.now)
			return text
		})
		if open, _ := french.Open(s, test.now); open != test.open {
			t.Errorf("%q at %v: open %v", test.hours, test.now, open)
		}
	}
}

// written returns a week as text, one line for each entry.
func written(all []OpenDays) string {
	var lines []string
	for _, d := range all {
		lines = append(lines, d.Days+" = "+strings.Join(d.Hours, " + "))
	}
	return strings.Join(lines, "\n")
}

func TestOpenWeek(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		hours         string
		complete      bool
		w             *Words
		usual, others string
	}{
		{"Mo-Fr 09:00-12:00,14:00-18:30; Sa 09:00-12:00", true, french,
			"Du lundi au vendredi = de 9 h à 12 h + de 14 h à 18 h 30\nSamedi = de 9 h à 12 h\nDimanche = ", ""},
		{"Mo-Fr 09:00-12:00,14:00-18:30", false, french, "Du lundi au vendredi = de 9 h à 12 h + de 14 h à 18 h 30", ""},
		{"Mo,Tu 09:00-12:00; We-Su 14:00-24:00", false, english, "Monday and Tuesday = 9 am to 12 pm\nWednesday to Sunday = 2 pm to midnight", ""},
		{"24/7", false, french, "Tous les jours = jour et nuit", ""},
		{"Tu 10:00-12:00; 2026 Nov 24 off; 2026 Dec 01 14:00-15:00; 2026 Dec 29 off", true, french,
			"Lundi = \nMardi = de 10 h à 12 h\nDu mercredi au dimanche = ", "Mardi 24 novembre = \nMardi 1er décembre = de 14 h à 15 h"},
		{"Mo-Su 10:00-12:00; 2026 Nov 23-2026 Nov 29 off", false, english, "Every day = 10 am to 12 pm", "23 November to 29 November = "},
	} {
		usual, others := test.w.OpenWeek(schedule(t, test.hours), test.complete, at(21, 15, 0))
		same(t, written(usual), test.usual)
		same(t, written(others), test.others)
	}
}
