package web

import (
	"strings"
	"testing"
	"time"
)

// said is each language's text for one thing, by its code.
type said map[string]string

// check compares every language's text, ignoring the width of spaces.
func (s said) check(t *testing.T, what any, say func(w *Words) string) {
	t.Helper()
	if len(s) != len(languages) {
		t.Errorf("%v: %d languages are tested, of %d", what, len(s), len(languages))
	}
	for code, want := range s {
		if got := plain.Replace(say(Language(code))); got != want {
			t.Errorf("%v in %s: %q, want %q", what, code, got, want)
		}
	}
}

var plain = strings.NewReplacer(noBreak, " ", narrowNoBreak, " ", leftToRightIsolate, "", popIsolate, "")

func TestDuration(t *testing.T) {
	t.Parallel()
	under := said{"fr": "moins de 1 minute", "en": "less than 1 minute", "es": "menos de 1 minuto", "pt": "menos de 1 minuto",
		"uk": "менше 1 хвилини", "ar": "أقل من دقيقة واحدة"}
	for d, want := range map[time.Duration]said{
		0: under, -time.Hour: under, 29 * time.Second: under,
		30 * time.Second: {"fr": "1 minute", "en": "1 minute", "es": "1 minuto", "pt": "1 minuto", "uk": "1 хвилина",
			"ar": "دقيقة واحدة"},
		45 * time.Minute: {"fr": "45 minutes", "en": "45 minutes", "es": "45 minutos", "pt": "45 minutos", "uk": "45 хвилин",
			"ar": "45 دقيقة"},
		time.Hour: {"fr": "1 heure", "en": "1 hour", "es": "1 hora", "pt": "1 hora", "uk": "1 година", "ar": "ساعة واحدة"},
		2*time.Hour - time.Second: {"fr": "2 heures", "en": "2 hours", "es": "2 horas", "pt": "2 horas", "uk": "2 години",
			"ar": "ساعتان"},
		90 * time.Minute: {"fr": "1 heure 30 minutes", "en": "1 hour 30 minutes", "es": "1 hora y 30 minutos",
			"pt": "1 hora e 30 minutos", "uk": "1 година 30 хвилин", "ar": "ساعة واحدة و30 دقيقة"},
		5*time.Hour + 2*time.Minute: {"fr": "5 heures 2 minutes", "en": "5 hours 2 minutes", "es": "5 horas y 2 minutos",
			"pt": "5 horas e 2 minutos", "uk": "5 годин 2 хвилини", "ar": "5 ساعات ودقيقتان"},
		24 * time.Hour: {"fr": "24 heures", "en": "24 hours", "es": "24 horas", "pt": "24 horas", "uk": "24 години",
			"ar": "24 ساعة"},
		101 * time.Hour: {"fr": "101 heures", "en": "101 hours", "es": "101 horas", "pt": "101 horas", "uk": "101 година",
			"ar": "101 ساعة"},
	} {
		want.check(t, d, func(w *Words) string { return w.Duration(d) })
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	under := said{"fr": "moins de 1 mégaoctet", "en": "less than 1 megabyte", "es": "menos de 1 megabyte",
		"pt": "menos de 1 megabyte", "uk": "менше 1 мегабайта", "ar": "أقل من 1 ميغابايت"}
	one := said{"fr": "1 gigaoctet", "en": "1 gigabyte", "es": "1 gigabyte", "pt": "1 gigabyte", "uk": "1 гігабайт",
		"ar": "1 غيغابايت"}
	for bytes, want := range map[uint64]said{
		0: {"fr": "0 mégaoctet", "en": "0 megabytes", "es": "0 megabytes", "pt": "0 megabytes", "uk": "0 мегабайтів",
			"ar": "0 ميغابايت"},
		1: under, 999_999: under,
		499_999_999: {"fr": "499 mégaoctets", "en": "499 megabytes", "es": "499 megabytes", "pt": "499 megabytes",
			"uk": "499 мегабайтів", "ar": "499 ميغابايت"},
		1_000_000_000: one, 1_099_999_999: one,
		1_590_000_000: {"fr": "1,5 gigaoctet", "en": "1.5 gigabytes", "es": "1,5 gigabytes", "pt": "1,5 gigabytes",
			"uk": "1,5 гігабайта", "ar": "1,5 غيغابايت"},
		2_000_000_000: {"fr": "2 gigaoctets", "en": "2 gigabytes", "es": "2 gigabytes", "pt": "2 gigabytes",
			"uk": "2 гігабайти", "ar": "2 غيغابايت"},
		19_994_000_000: {"fr": "19,9 gigaoctets", "en": "19.9 gigabytes", "es": "19,9 gigabytes", "pt": "19,9 gigabytes",
			"uk": "19,9 гігабайта", "ar": "19,9 غيغابايت"},
		21_000_000_000: {"fr": "21 gigaoctets", "en": "21 gigabytes", "es": "21 gigabytes", "pt": "21 gigabytes",
			"uk": "21 гігабайт", "ar": "21 غيغابايت"},
		99_999_999_999: {"fr": "99,9 gigaoctets", "en": "99.9 gigabytes", "es": "99,9 gigabytes", "pt": "99,9 gigabytes",
			"uk": "99,9 гігабайта", "ar": "99,9 غيغابايت"},
		121_900_000_000: {"fr": "121 gigaoctets", "en": "121 gigabytes", "es": "121 gigabytes", "pt": "121 gigabytes",
			"uk": "121 гігабайт", "ar": "121 غيغابايت"},
		1<<64 - 1: {"fr": "1 000 000 gigaoctets", "en": "1,000,000 gigabytes", "es": "1.000.000 gigabytes",
			"pt": "1 000 000 gigabytes", "uk": "1 000 000 гігабайтів", "ar": "1.000.000 غيغابايت"},
	} {
		want.check(t, bytes, func(w *Words) string { return w.Size(bytes) })
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for metres, want := range map[float64]said{
		0: {"fr": "100 mètres", "en": "100 metres", "es": "100 metros", "pt": "100 metros", "uk": "100 метрів", "ar": "100 متر"},
		849: {"fr": "800 mètres", "en": "800 metres", "es": "800 metros", "pt": "800 metros", "uk": "800 метрів",
			"ar": "800 متر"},
		951: {"fr": "1 kilomètre", "en": "1 kilometre", "es": "1 kilómetro", "pt": "1 quilómetro", "uk": "1 кілометр",
			"ar": "كيلومتر واحد"},
		1_540: {"fr": "1,5 kilomètre", "en": "1.5 kilometres", "es": "1,5 kilómetros", "pt": "1,5 quilómetros",
			"uk": "1,5 кілометра", "ar": "1,5 كيلومتر"},
		12_400: {"fr": "12 kilomètres", "en": "12 kilometres", "es": "12 kilómetros", "pt": "12 quilómetros",
			"uk": "12 кілометрів", "ar": "12 كيلومترا"},
	} {
		want.check(t, metres, func(w *Words) string { return w.Distance(metres) })
	}
}

// A number is separate from its unit, so that a page can show it in large type. Where the word includes the number, the word is the
// Number.
func TestAmountParts(t *testing.T) {
	t.Parallel()
	arabic := Language("ar")
	if got, want := arabic.DurationParts(2 * time.Hour)[0], (Amount{Number: "ساعتان"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := arabic.SizeParts(2e9), (Amount{Number: "2", Unit: "غيغابايت"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := french.DurationParts(0)[0], (Amount{Unit: "moins de 1" + noBreak + "minute"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// same compares texts, ignoring the width of spaces.
func same(t *testing.T, got, want string) {
	t.Helper()
	if got = plain.Replace(got); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestVideo(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[uint64]string{
		0: "", 50_000_000: "", 100_000_000: "10 minutes", 250_000_000: "30 minutes", 500_000_000: "1 hour",
		750_000_000: "1 hour 30 minutes", 1_400_000_000: "2 hours", 83_700_000_000: "167 hours", 1<<64 - 1: "1,000,000 hours",
	} {
		same(t, english.Video(bytes), want)
	}
}

func TestSpeed(t *testing.T) {
	t.Parallel()
	for bits, want := range map[uint64]string{
		0: "As fast as it can be", 1: "Fast enough to read and write", 1_000_000: "Fast enough to listen to the radio",
		4_000_000: "Fast enough to watch a video", 20_000_000: "Fast enough to watch a film",
	} {
		same(t, english.Speed(bits), want)
	}
}

func TestWhen(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("CET", 3600)
	now := time.Date(2026, 11, 21, 23, 30, 0, 0, time.UTC) // already the 22nd in the zone
	at := func(month time.Month, day, hour, minute int) time.Time {
		return time.Date(2026, month, day, hour, minute, 0, 0, zone)
	}
	for when, want := range map[time.Time]said{
		at(11, 22, 8, 30): {"fr": "aujourd’hui à 8 h 30", "en": "today at 8:30 am", "es": "hoy a las 8:30", "pt": "hoje às 8h30",
			"uk": "сьогодні о 8:30", "ar": "اليوم على الساعة 8:30"},
		at(11, 22, 14, 0): {"fr": "aujourd’hui à 14 h", "en": "today at 2 pm", "es": "hoy a las 14:00", "pt": "hoje às 14h",
			"uk": "сьогодні о 14:00", "ar": "اليوم على الساعة 14:00"},
		at(11, 23, 0, 0): {"fr": "demain", "en": "tomorrow", "es": "mañana", "pt": "amanhã", "uk": "завтра", "ar": "غدا"},
		at(11, 23, 0, 5): {"fr": "demain à 0 h 05", "en": "tomorrow at 12:05 am", "es": "mañana a las 0:05",
			"pt": "amanhã às 0h05", "uk": "завтра о 0:05", "ar": "غدا على الساعة 0:05"},
		at(11, 23, 1, 30): {"fr": "demain à 1 h 30", "en": "tomorrow at 1:30 am", "es": "mañana a la 1:30",
			"pt": "amanhã à 1h30", "uk": "завтра о 1:30", "ar": "غدا على الساعة 1:30"},
		at(11, 23, 11, 0): {"fr": "demain à 11 h", "en": "tomorrow at 11 am", "es": "mañana a las 11:00", "pt": "amanhã às 11h",
			"uk": "завтра об 11:00", "ar": "غدا على الساعة 11:00"},
		at(11, 23, 12, 0): {"fr": "demain à midi", "en": "tomorrow at noon", "es": "mañana al mediodía",
			"pt": "amanhã ao meio-dia", "uk": "завтра опівдні", "ar": "غدا في منتصف النهار"},
		at(11, 24, 8, 30): {"fr": "mardi 24 novembre à 8 h 30", "en": "on Tuesday 24 November at 8:30 am",
			"es": "el martes 24 de noviembre a las 8:30", "pt": "na terça-feira, 24 de novembro, às 8h30",
			"uk": "у вівторок, 24 листопада, о 8:30", "ar": "يوم الثلاثاء 24 نوفمبر على الساعة 8:30"},
		at(12, 1, 0, 0): {"fr": "mardi 1er décembre", "en": "on Tuesday 1 December", "es": "el martes 1 de diciembre",
			"pt": "na terça-feira, 1 de dezembro", "uk": "у вівторок, 1 грудня", "ar": "يوم الثلاثاء 1 ديسمبر"},
	} {
		want.check(t, when, func(w *Words) string { return w.When(when, now) })
	}
}

func TestDay(t *testing.T) {
	t.Parallel()
	for day, want := range map[int]said{
		1: {"fr": "1er novembre", "en": "1 November", "es": "1 de noviembre", "pt": "1 de novembro", "uk": "1 листопада",
			"ar": "1 نوفمبر"},
		21: {"fr": "21 novembre", "en": "21 November", "es": "21 de noviembre", "pt": "21 de novembro", "uk": "21 листопада",
			"ar": "21 نوفمبر"},
	} {
		date := time.Date(2026, 11, day, 23, 59, 0, 0, time.UTC)
		want.check(t, day, func(w *Words) string { return w.Day(date) })
	}
}
