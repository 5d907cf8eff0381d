package hours

import "time"

// Holiday tells whether t's date is a public holiday of the whole country.
func Holiday(t time.Time) bool { return holiday(t.Date()) }

// holiday tells whether the date is one of the eleven public holidays of the whole of France (Code du travail, article
// L3133-1).
func holiday(year int, month time.Month, day int) bool {
	switch {
	case month == time.January && day == 1,
		month == time.May && day == 1,
		month == time.May && day == 8,
		month == time.July && day == 14,
		month == time.August && day == 15,
		month == time.November && day == 1,
		month == time.November && day == 11,
		month == time.December && day == 25:
		return true
	}
	sunday := easter(year)
	date := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	switch date.Sub(sunday) / (24 * time.Hour) {
	case 1, 39, 50: // Easter Monday, Ascension Day, Whit Monday
		return true
	}
	return false
}

// easter returns Easter Sunday of a Gregorian year, by the anonymous algorithm that Meeus gives (Astronomical
// Algorithms, chapter 8). It holds for every Gregorian year.
func easter(year int) time.Time {
	golden := year % 19
	century, inCentury := year/100, year%100
	correction := (8*century + 13) / 25 // of the moon's age
	epact := (19*golden + century - century/4 - correction + 15) % 30
	sunday := (32 + 2*(century%4) + 2*(inCentury/4) - epact - inCentury%4) % 7 // from the full moon on
	late := (golden + 11*epact + 22*sunday) / 451
	n := epact + sunday - 7*late + 114
	return time.Date(year, time.Month(n/31), n%31+1, 0, 0, 0, 0, time.UTC)
}
