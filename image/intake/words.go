package intake

// The answers, in French and English. The lines about a configuration are those of `passerelle check`.
const (
	acceptedWords = `
Configuration acceptée.

La box l'utilise maintenant. Le fichier passerelle.toml n'est plus sur cette
carte : il pouvait contenir un mot de passe. Gardez-en une copie chez vous.

-----------------------------------------------------------------------------

Configuration accepted.

The box uses it now. The file passerelle.toml is no longer on this card: it may
have had a password. Keep a copy of it.
`
	misfitWords = `
Configuration acceptée, avec des remarques.

La box l'utilise maintenant. Au démarrage, ceci n'allait pas avec la machine
(en anglais) ; c'est normal pour un appareil qui sera branché plus tard :

  {}

Le fichier passerelle.toml n'est plus sur cette carte : il pouvait contenir un
mot de passe. Gardez-en une copie chez vous.

-----------------------------------------------------------------------------

Configuration accepted, with remarks.

The box uses it now. At its start, this did not fit the machine, which is fine
for a device that will be plugged in later:

  {}

The file passerelle.toml is no longer on this card: it may have had a password.
Keep a copy of it.
`
	refusedWords = `
Configuration refusée.

La box garde ses réglages d'avant. Voici ce qui ne va pas, ligne par ligne (en
anglais) :

  {}

Pour corriger :
1. Ouvrez passerelle-refused.toml, sur cette carte. C'est votre fichier, mais
   chaque mot de passe y est remplacé par ******** et un numéro.
2. Corrigez ces lignes, et écrivez à nouveau les mots de passe.
3. Enregistrez-le sous le nom passerelle.toml, en UTF-8, et remettez la carte.
Si passerelle-refused.toml n'est pas là, votre fichier n'était pas un texte :
repartez de votre copie.

-----------------------------------------------------------------------------

Configuration refused.

The box keeps its settings from before. This is what is wrong, line by line:

  {}

To correct it:
1. Open passerelle-refused.toml, on this card. It is your file, but each
   password in it is replaced by ******** and a number.
2. Correct these lines, and write the passwords again.
3. Save it with the name passerelle.toml, as UTF-8, and put the card back.
If there is no passerelle-refused.toml, your file was no text: start again from
your copy.
`
	codeWords = `
Pour régler la box la première fois :
1. Rejoignez le réseau Wi-Fi de la box.
2. Ouvrez cette page, malgré l'avertissement, et tapez ce code :

  {}

Ce fichier disparaît quand le code a servi. Ne le montrez à personne d'autre.

-----------------------------------------------------------------------------

To set up the box for the first time:
1. Join the Wi-Fi network of the box.
2. Open the page above, in spite of the warning, and type the code.

This file disappears once the code is used. Show it to nobody else.
`
)
