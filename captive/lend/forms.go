package lend

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"passerelle/captive/web"
)

// The names of the forms' fields.
const (
	LenderField  = "lender"
	NetworkField = "network"
	SecretField  = "password"
	SizeField    = "size"
	UntilField   = "until" // one of Spans, or "date"
	DateField    = "date"
	CodeField    = "code" // the text of a QR code
)

// Spans are the numbers of days that forms offer for a loan, not counting today.
var Spans = []int{0, 7, 30, 90}

// usualSpan is the one of Spans that forms start with.
const usualSpan = 30

// onDate is the value of UntilField for a date of the lender's own.
const onDate = "date"

// maxLender is the greatest length of a lender's name, in characters.
const maxLender = 40

// maxDays is how many days away the last day may be.
const maxDays = 366

// Choice is a value that a form offers.
type Choice struct {
	Value, Text string
	Chosen      bool
}

// Terms are the fields of a form about how much is lent and until when. A box that does not know the date asks for one.
type Terms struct {
	Lender string
	Sizes  []Choice
	Spans  []Choice // empty if the box does not know the date
	Date   string
	First  string // the earliest date, "" if the box does not know
}

// NewTerms returns the fields with the values that a form has, or with the initial ones. now is in the box's zone; known says whether
// the clock is right.
func NewTerms(w *web.Words, form url.Values, now time.Time, known bool) Terms {
	t := Terms{Lender: form.Get(LenderField), Date: form.Get(DateField)}
	size, until := form.Get(SizeField), form.Get(UntilField)
	if size == "" {
		size = strconv.FormatUint(UsualSize, 10)
	}
	if until == "" {
		until = strconv.Itoa(usualSpan)
	}
	for _, n := range Sizes {
		v := strconv.FormatUint(n, 10)
		t.Sizes = append(t.Sizes, Choice{v, Means(w, n), v == size})
	}
	if !known {
		return t
	}
	t.First = now.Format(time.DateOnly)
	for _, days := range Spans {
		v := strconv.Itoa(days)
		text := w.T("lend.span."+v, "day", w.Day(now.AddDate(0, 0, days)))
		t.Spans = append(t.Spans, Choice{v, text, v == until})
	}
	t.Spans = append(t.Spans, Choice{onDate, w.T("lend.span.date"), until == onDate})
	return t
}

// ReadTerms reads a form's fields into an offer. problems has a word for each thing that is wrong: "lender", "size", "until", "past" or
// "far".
func ReadTerms(form url.Values, o *Offer, now time.Time, known bool) (problems []string) {
	o.Lender = strings.Join(strings.Fields(form.Get(LenderField)), " ")
	if utf8.RuneCountInString(o.Lender) > maxLender || !utf8.ValidString(o.Lender) || strings.ContainsFunc(o.Lender, func(r rune) bool { return !unicode.IsPrint(r) }) {
		problems = append(problems, "lender")
	}
	size, err := strconv.ParseUint(form.Get(SizeField), 10, 64)
	if err != nil || !slices.Contains(Sizes, size) {
		problems = append(problems, "size")
	}
	o.Cap = size
	until := form.Get(UntilField)
	if days, err := strconv.Atoi(until); err == nil && known && slices.Contains(Spans, days) {
		o.Until = now.AddDate(0, 0, days).Format(time.DateOnly)
		return problems
	}
	day, err := time.Parse(time.DateOnly, strings.TrimSpace(form.Get(DateField)))
	today := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC)
	switch {
	case err != nil, known && until != onDate:
		problems = append(problems, "until")
	case known && day.Before(today):
		problems = append(problems, "past")
	case known && day.After(today.AddDate(0, 0, maxDays)):
		problems = append(problems, "far")
	}
	o.Until = day.Format(time.DateOnly)
	return problems
}

// FormPage is the form on the lender's own phone.
type FormPage struct {
	web.Frame
	Terms
	Network  string
	Problems []string // words for what is wrong
}

// Template implements [web.Page].
func (FormPage) Template() string { return "lend/form" }

// WaitPage shows the number that the lender has to say at the desk.
type WaitPage struct {
	web.Frame
	Offer
	Means string // how much is lent
	Day   string // the last day
}

// Template implements [web.Page].
func (WaitPage) Template() string { return "lend/wait" }

// OverPage thanks a lender when the loan is over.
type OverPage struct {
	web.Frame
	Donation string
	Gave     string // what it gave, in words; "" for nothing
	Day      string // its last day
}

// Template implements [web.Page].
func (OverPage) Template() string { return "lend/over" }

// DeskPage lists the offers that wait, and has the forms for one at the desk.
type DeskPage struct {
	web.Frame
	Up       web.Link
	Waiting  []OfferCard
	Plugged  []Plugged // phones on a cable that belong to no donation
	Heard    []Heard   // Wi-Fi networks in range that offer to lend
	Listened bool      // the networks in range have just been looked for
	Problem  string    // a word for what is wrong, "" for nothing
	Network  string    // as typed
	Offers   string    // the name of networks that offer to lend, "" for none
}

// Template implements [web.Page].
func (DeskPage) Template() string { return "lend/desk" }

// OfferCard is an offer that waits.
type OfferCard struct {
	Offer
	Since string // when it arrived
	Means string // how much is lent; "" if the desk must choose
	Day   string // the last day
}

// Plugged is a phone on a cable.
type Plugged struct {
	Interface string
	Works     bool // it has link, address and default route
}

// Heard is a Wi-Fi network in range.
type Heard struct {
	Name   string // in the configuration's form
	Strong bool   // its signal is strong
}

// LoanPage is an offer whose terms the desk chooses, or about which it must answer a question.
type LoanPage struct {
	web.Frame
	Terms
	Up       web.Link
	Offer    Offer
	Cable    string   // the interface of a phone on a cable, "" for an offer
	Same     string   // the donation that already uses a network of this name; "" for none
	Problems []string // words for what is wrong
	Detail   string   // in English
}

// Template implements [web.Page].
func (LoanPage) Template() string { return "lend/loan" }

// DonePage says how an offer was answered, and has the lender's link.
type DonePage struct {
	web.Frame
	Up       web.Link
	Word     string // how it was answered
	Donation string
	Link     string // the lender's page with its address; "" for none
	Size     int    // modules of its QR code with the margin
	Modules  string // the code's dark modules as a path
	Detail   string // in English
}

// Template implements [web.Page].
func (DonePage) Template() string { return "lend/done" }
