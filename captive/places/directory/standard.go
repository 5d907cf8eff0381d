package directory

import (
	"strings"
	"sync"
	"unicode"

	"passerelle/captive/search"
)

// The standard as data: the columns and enumerations of the schema "lieux de médiation numérique" v1.0.2
// (LaMednum/standard-mediation-num), and the names that version 0.1 had for them.

// The terms of Place.Services.
const (
	Procedures Terms = 1 << iota
	Everyday
	Work
	Safety
	Parenting
	Leisure
	Culture
	Equipment
	Purchase
)

// Services are the enumeration "services".
var Services = []Term{
	{"procedures", "Aide aux démarches administratives"},
	{"everyday", "Maîtrise des outils numériques du quotidien"},
	{"work", "Insertion professionnelle via le numérique"},
	{"safety", "Utilisation sécurisée du numérique"},
	{"parenting", "Parentalité et éducation avec le numérique"},
	{"leisure", "Loisirs et créations numériques"},
	{"culture", "Compréhension du monde numérique"},
	{"equipment", "Accès internet et matériel informatique"},
	{"purchase", "Acquisition de matériel informatique à prix solidaire"},
}

// The terms of Place.Audiences.
const (
	Youth Terms = 1 << iota
	Students
	Families
	Seniors
	Women
)

// Audiences are the enumeration "publics_specifiquement_adresses".
var Audiences = []Term{
	{"youth", "Jeunes"},
	{"students", "Étudiants"},
	{"families", "Familles et/ou enfants"},
	{"seniors", "Seniors"},
	{"women", "Femmes"},
}

// The terms of Place.Care.
const (
	Hearing Terms = 1 << iota
	Moving
	Mental
	Reading
	English
	OtherLanguages
	Sight
)

// Care is the enumeration "prise_en_charge_specifique".
var Care = []Term{
	{"hearing", "Surdité"},
	{"moving", "Handicaps moteurs"},
	{"mental", "Handicaps mentaux"},
	{"reading", "Illettrisme"},
	{"english", "Langues étrangères (anglais)"},
	{"languages", "Langues étrangères (autres)"},
	{"sight", "Déficience visuelle"},
}

// The terms of Place.Fees.
const (
	Free Terms = 1 << iota
	FreeForSome
	Paid
)

// Fees are the enumeration "frais_a_charge".
var Fees = []Term{
	{"free", "Gratuit"},
	{"free-for-some", "Gratuit sous condition"},
	{"paid", "Payant"},
}

// The terms of Place.Programmes.
const (
	AidantsConnect Terms = 1 << iota
	BNR
	Pix
	Advisers
	EmmausConnect
	FranceServices
	GEN
	RedCross
	CAF
	Promeneurs
	EmmausRelay
)

// Programmes are the enumeration "dispositif_programmes_nationaux".
var Programmes = []Term{
	{"aidants-connect", "Aidants Connect"},
	{"bnr", "Bibliothèques numérique de référence"},
	{"pix", "Certification PIX"},
	{"advisers", "Conseillers numériques"},
	{"emmaus-connect", "Emmaüs Connect"},
	{"france-services", "France Services"},
	{"gen", "Grande école du numérique"},
	{"red-cross", "La Croix Rouge"},
	{"caf", "Point d’accès numérique CAF"},
	{"promeneurs", "Promeneurs du net"},
	{"emmaus-relay", "Relais numérique (Emmaüs Connect)"},
}

// Fabriques is a term of Place.Labels.
const Fabriques Terms = 1 << 5

// Labels are the enumeration "formations_labels".
var Labels = []Term{
	{"mon-espace-sante", "Formé à « Mon Espace Santé »"},
	{"duplex", "Formé à « DUPLEX » (illettrisme)"},
	{"arnia", "Arnia/MedNum BFC (Bourgogne-Franche-Comté)"},
	{"reuse", "Collectif ressources et acteurs réemploi (Normandie)"},
	{"etapes", "Étapes numériques (La Poste)"},
	{"fabriques", "Fabriques de Territoire"},
	{"eclaireurs", "Les Éclaireurs du numérique (Drôme)"},
	{"mes-papiers", "Mes Papiers (Métropole de Lyon)"},
	{"ordi", "ORDI 3.0"},
	{"sud-labs", "SUD LABS (PACA)"},
}

// The terms of Place.Access.
const (
	WalkIn Terms = 1 << iota
	ByPhone
	ByMail
	ByBooking
	NoPublic
	ByPrescription
)

// Access is the enumeration "modalites_acces".
var Access = []Term{
	{"walk-in", "Se présenter"},
	{"phone", "Téléphoner"},
	{"mail", "Contacter par mail"},
	{"booking", "Prendre un RDV en ligne"},
	{"no-public", "Ce lieu n’accueille pas de public"},
	{"prescription", "Envoyer un mail avec une fiche de prescription"},
}

// The terms of Place.Modes.
const (
	Alone Terms = 1 << iota
	WithSomebody
	Workshop
	Remote
)

// Modes are the enumeration "modalites_accompagnement".
var Modes = []Term{
	{"alone", "En autonomie"},
	{"with-somebody", "Accompagnement individuel"},
	{"workshop", "Dans un atelier collectif"},
	{"remote", "À distance"},
}

// column is a column of the standard.
type column int

const (
	colID column = iota
	colName
	colTown
	colPostcode
	colAddress
	colComplement
	colLatitude
	colLongitude
	colTypes
	colPhones
	colEmails
	colSites
	colHours
	colSummary
	colDetail
	colSource
	colItinerant
	colParent
	colUpdated
	colServices
	colAudiences
	colCare
	colFees
	colProgrammes
	colLabels
	colOtherLabels
	colAccess
	colModes
	colAccessSheet
	colBooking
	colIgnored // known, but of no use to residents
	columns    // the number of columns
)

// columnNames are the names of the columns, the standard's first, then older ones.
var columnNames = [columns][]string{
	colID:          {"id"},
	colName:        {"nom"},
	colTown:        {"commune"},
	colPostcode:    {"code_postal"},
	colAddress:     {"adresse"},
	colComplement:  {"complement_adresse"},
	colLatitude:    {"latitude"},
	colLongitude:   {"longitude"},
	colTypes:       {"typologie"},
	colPhones:      {"telephone"},
	colEmails:      {"courriels", "courriel"},
	colSites:       {"site_web"},
	colHours:       {"horaires", "horaires_ouverture"},
	colSummary:     {"presentation_resume", "presentation_resumee"},
	colDetail:      {"presentation_detail"},
	colSource:      {"source"},
	colItinerant:   {"itinerance"},
	colParent:      {"structure_parente"},
	colUpdated:     {"date_maj"},
	colServices:    {"services"},
	colAudiences:   {"publics_specifiquement_adresses", "publics_accueillis", "publics"},
	colCare:        {"prise_en_charge_specifique"},
	colFees:        {"frais_a_charge", "conditions_acces", "conditions_access"},
	colProgrammes:  {"dispositif_programmes_nationaux", "labels_nationaux"},
	colLabels:      {"formations_labels"},
	colOtherLabels: {"autres_formations_labels", "labels_autres"},
	colAccess:      {"modalites_acces"},
	colModes:       {"modalites_accompagnement"},
	colAccessSheet: {"fiche_acces_libre", "accessibilite"},
	colBooking:     {"prise_rdv"},
	colIgnored:     {"pivot", "code_insee", "cle_ban"},
}

// requiredColumns are the columns without which a file is in another format.
var requiredColumns = []column{colID, colName, colTown, colPostcode, colAddress}

func (c column) String() string { return columnNames[c][0] }

// columnsByName maps the plain form of a column's name to the column.
var columnsByName = sync.OnceValue(func() map[string]column {
	all := make(map[string]column)
	for c, names := range columnNames {
		for _, name := range names {
			all[plain(name)] = column(c)
		}
	}
	return all
})

// columnOf returns the column with a name. Case, accents and signs do not count, so spaces or hyphens may replace underscores.
func columnOf(name string) (column, bool) {
	c, ok := columnsByName()[plain(name)]
	return c, ok
}

// plain returns a text's letters and digits, without accents and case. Terms are compared in this form.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, search.Fold(text))
}

// enumeration is a column whose values are terms.
type enumeration struct {
	column column
	terms  []Term
	set    func(*Place) *Set
}

var enumerations = []enumeration{
	{colServices, Services, func(p *Place) *Set { return &p.Services }},
	{colAudiences, Audiences, func(p *Place) *Set { return &p.Audiences }},
	{colCare, Care, func(p *Place) *Set { return &p.Care }},
	{colFees, Fees, func(p *Place) *Set { return &p.Fees }},
	{colProgrammes, Programmes, func(p *Place) *Set { return &p.Programmes }},
	{colLabels, Labels, func(p *Place) *Set { return &p.Labels }},
	{colAccess, Access, func(p *Place) *Set { return &p.Access }},
	{colModes, Modes, func(p *Place) *Set { return &p.Modes }},
}

// olderTerm is a value of version 0.1, or another spelling, and the terms that it stands for, possibly in another column. Labels that no
// longer exist (APTIC, Point relais CAF, French Tech) are not mapped: they are shown as they are.
type olderTerm struct {
	column column
	value  string
	in     column
	terms  Terms
}

var olderTerms = []olderTerm{
	{colServices, "Devenir autonome dans les démarches administratives", colServices, Procedures},
	{colServices, "Gagner en autonomie dans les démarches administratives", colServices, Procedures},
	{colServices, "Réaliser des démarches administratives avec un accompagnement", colServices, Procedures},
	{colServices, "Etre accompagné dans les démarches administratives", colServices, Procedures},
	{colServices, "Accompagner les démarches de santé", colServices, Procedures},
	{colServices, "Prendre en main un smartphone ou une tablette", colServices, Everyday},
	{colServices, "Prendre en main un ordinateur", colServices, Everyday},
	{colServices, "Utiliser le numérique au quotidien", colServices, Everyday},
	{colServices, "Approfondir ma culture numérique", colServices, Safety | Leisure | Culture},
	{colServices, "Favoriser mon insertion professionnelle", colServices, Work},
	{colServices, "Créer et développer mon entreprise", colServices, Work},
	{colServices, "Accéder à une connexion internet", colServices, Equipment},
	{colServices, "Accéder à du matériel", colServices, Equipment},
	{colServices, "S’équiper en matériel informatique", colServices, Purchase},
	{colServices, "Créer avec le numérique", colServices, Leisure},
	{colServices, "Promouvoir la citoyenneté numérique", colServices, Culture},
	{colServices, "Soutenir la parentalité et l’éducation avec le numérique", colServices, Parenting},
	{colServices, "Soutenir la parentalité", colServices, Parenting},

	{colAudiences, "Seniors (+ 65 ans)", colAudiences, Seniors},
	{colAudiences, "Familles/enfants", colAudiences, Families},
	{colAudiences, "Jeunes (16-26 ans)", colAudiences, Youth},
	{colAudiences, "Uniquement femmes", colAudiences, Women},
	{colAudiences, "Public langues étrangères", colCare, OtherLanguages},
	{colAudiences, "Déficience visuelle", colCare, Sight},
	{colAudiences, "Surdité", colCare, Hearing},
	{colAudiences, "Handicaps psychiques", colCare, Mental},
	{colAudiences, "Handicaps mentaux", colCare, Mental},
	{colAudiences, "Personnes en situation d’illettrisme", colCare, Reading},

	{colFees, "Adhésion", colFees, Paid},

	{colProgrammes, "CNFS", colProgrammes, Advisers},
	{colProgrammes, "Conseiller numérique", colProgrammes, Advisers},
	{colProgrammes, "Point numérique CAF", colProgrammes, CAF},
	{colProgrammes, "Grandes écoles du numérique", colProgrammes, GEN},
	{colProgrammes, "Fabriques de Territoire", colLabels, Fabriques},

	{colModes, "Seul", colModes, Alone},
	{colModes, "Avec de l’aide", colModes, WithSomebody},
	{colModes, "Dans un atelier", colModes, Workshop},
	{colModes, "À ma place", colModes, WithSomebody},
}

// everybody is a value of version 0.1. If it is listed, the other values exclude nobody.
const everybody = "Adultes"

// meaning is what a value of a column stands for.
type meaning struct {
	enumeration int // in enumerations
	terms       Terms
}

// meanings returns the meanings of values in their plain form, by the number of the column's enumeration.
var meanings = sync.OnceValue(func() []map[string]meaning {
	all := make([]map[string]meaning, len(enumerations))
	number := make(map[column]int)
	for i, e := range enumerations {
		number[e.column] = i
		all[i] = make(map[string]meaning)
		for bit, t := range e.terms {
			all[i][plain(t.Label)] = meaning{i, 1 << bit}
		}
	}
	all[number[colAudiences]][plain(everybody)] = meaning{number[colAudiences], 0}
	for _, o := range olderTerms {
		all[number[o.column]][plain(o.value)] = meaning{number[o.in], o.terms}
	}
	return all
})
