package search

import (
	"slices"
	"strings"
)

// stopWords are the words that say nothing about what somebody looks for, by language: articles, pronouns, courtesies and the
// beginnings of questions, in French also in the spelling of text messages. The stop words of all languages apply to every query,
// since people do not only write in the language of the page. So a word is listed only if it is nothing that people look for in any
// other of these languages: "son" and "car" are not listed.
var stopWords = map[string]string{
	"fr": `a à ai ais aie aient ait aller alors as au aucun aussi autre autres aux avait avec avez avoir avons bah ben bjr bonjour bonsoir
		c ca ça ce ceci cela celle celui ces cet cette ceux chez ci comme comment d dans de dedans dehors deja depuis des
		desole dois doit doivent donc dont ds du elle elles en encore entre est estce et etait etaient ete etes être eu eux fai faire fais
		fait faites faut fo fois font g hein ici il ils j jai jaimerais jarrive je jme jpeu jpeux jsuis jte juste jveu jveux k kan
		ke kel kelle ki koi kom komen l la là le les leur leurs lui m ma mais me même merci mes met mettre mm moi mon n ne ni nn
		non nos notre nous o on ont ou où ouais oui par parce parceque pas pcq pendant peu peut peuvent peux pk plait plaît
		plus pour pourquoi pourrais pourriez pq pr puis puisje pis pvez pouvez pouvoir quand que quel quelle quelles quelqu quels
		quelque quelques queske keske kesk quest qui quoi rien s sa sais sans savoir se sera ses si slt salut soit sont sous souvent
		stp svp suis sur t ta te tes toi ton toujours tous tout toute toutes tres très trop tu u un une va vais vas vers veu veut veulent
		veux voici voila voudrais voudrai voudrait vont vos votre vous vouloir vs vx vraiment x y
		madame monsieur mme mr aimerais aimerai arrive arrives arriver cest sil hui aujourd maintenant
		besoin probleme problème pb truc chose choses possible savez sait dire dit`,
	"en": `a am an and any are as at be been but by can cannot could did do does doing dont don for from get got had has have having
		he hello her hi his how i id if im in into is it its just let ll me my need no not of our out please pls
		she should so some than thank thanks that the their them then there they this to too up us
		ve very want was we were what when where which who why will with would you your lot really still ive`,
	"es": `al algo aqui como con cual cuando cuanto de del desde donde el ella ellos en es esa ese eso esta estan estar este esto
		estoy favor fue gracias ha hacer hago han hasta hay hola la las le les lo los me mi mis mucho muy necesito ningun no nos
		o os para pero poder por porque pueden puedo puede que quiero quisiera quien saber se sin sobre soy su sus tambien te tener tengo
		tiene todo tu un una uno unos unas usted y ya yo`,
	"pt": `ao aos as até com como da das de dela dele do dos e ela ele em essa esse esta estar este estou eu faço fazer foi há isso isto
		já lhe mais mas me meu meus minha minhas muito na nas nao não nem no nos num numa o obrigada obrigado ola olá onde os ou para pela
		pelo pode posso por porque preciso quais qual quando que quem quero sao se sem ser seu seus sobre sou sua tem tenho ter um uma
		voce você fui favor`,
	"ar": `أن أنا أنت إلى الى او أو أي أين اين إن ان التي الذي الذين انا بعد بين ثم حتى حول شكرا عن على عند عندي غير في فيها قد كل
		كم كيف لا لدي لقد لكن لم لماذا لن له لها لي ليس ما ماذا مع من مرحبا منذ هذا هذه هل هم هنا هو هي و يا يمكن يمكنني أريد اريد
		أحتاج احتاج سلام فضلك`,
	"uk": `а або але бо був була були бути в вас ви від він вона вони все всі для до же з за зі і із її їх й його коли котрий мене мені
		ми мій моя моє мої може можна мною на над нам нас не нема немає ні о про при с свій своя та так такий там те тебе ти то тобі того
		той тут у усі хочу хто це цей ця чи чому що щоб щось я як яка який які де є добрий день дякую будь ласка треба потрібно
		потрібна потрібен мати привіт допоможіть`,
}

// lightWords say little: they are what people do with most things, what most things here are done with, and for whom. Numbers are
// light, too.
const lightWords = `compte cours place telephone tel portable smartphone mobile femme homme enfant mari fils fille mere pere famille apprendre acheter aide aider chercher cherche change changer choisir connaitre creer demande demander donner envoyer fonctionne
	gratuit gratuite gratuitement internet ligne marche numero obtenir ouvrir prendre refaire regarder site trouver trouve utiliser
	nouveau nouvelle petit petite grand grande bon bonne bien mal personne gens jour
	account phone woman man child children husband wife son daughter mother father family learn
	find use using make create open free online buy look internet good new
	cuenta telefono movil mujer hombre niño hijo hija madre padre familia aprender
	buscar encontrar crear abrir gratis usar comprar nuevo ayuda
	conta telefone telemovel mulher homem criança filho filha mae pai familia aprender
	procurar encontrar criar abrir gratis gratuito usar comprar novo ajuda
	حساب هاتف امرأة رجل طفل عائلة تعلم بحث مساعدة إنشاء فتح
	рахунок телефон жінка чоловік дитина родина вивчити знайти створити відкрити шукаю допомога`

// stops has the folded stop words and their stems; light has the stems of the light words.
var stops, light = func() (stops, light map[string]bool) {
	stops, light = make(map[string]bool), make(map[string]bool)
	for _, words := range stopWords {
		for _, w := range strings.Fields(words) {
			folded := Fold(w)
			stops[folded], stops[stem(folded)] = true, true // "faite" says no more than "faites"
		}
	}
	for _, w := range strings.Fields(lightWords) {
		light[stem(Fold(w))] = true
	}
	return stops, light
}()

// likeStop says whether a word without matches is a misspelt stop word, such as "coment".
func likeStop(word string) bool {
	letters := []rune(word)
	if len(letters) < longStop {
		return false
	}
	shape := outlineOf(letters)
	for _, stop := range longStops[letters[0]] {
		if shape.apart(stop.outline) <= 1 && Distance(letters, stop.spelt, 1) <= 1 {
			return true
		}
	}
	return false
}

// longStop is the length from which a misspelt stop word is recognised.
const longStop = 6

type stopWord struct {
	spelt []rune
	outline
}

// longStops are the stop words that a misspelt word of at least longStop letters may stand for, by their first letter.
var longStops = func() map[rune][]stopWord {
	all := make(map[rune][]stopWord)
	for w := range stops {
		if letters := []rune(w); len(letters) >= longStop-1 {
			all[letters[0]] = append(all[letters[0]], stopWord{letters, outlineOf(letters)})
		}
	}
	return all
}()

// Says reports whether a text has a word that is searched for: one that is not a stop word.
func Says(text string) bool {
	return slices.ContainsFunc(tokens(text), func(t token) bool { return !t.stop })
}
