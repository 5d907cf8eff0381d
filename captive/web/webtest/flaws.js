// What keeps somebody from using the page that the browser shows, as sentences: what axe-core finds, and what it does not
// check. The numbers are WCAG's. Links and buttons are touched with a thumb, so they have 44 px (2.5.5), but for a link
// within a sentence; a box or a dot to tick is touched with its label. What is folded is checked, too, and text at twice
// its size (1.4.4).
async ({whole, structure, colours, lang, dir}) => {
	const flaws = [], all = s => [...document.querySelectorAll(s)];
	// What the style sheet hides until an option is chosen can be neither touched nor focused.
	const shown = s => all(s).filter(e => e.checkVisibility());
	const say = (what, e) => flaws.push(what + (e ? ": " + e.outerHTML.slice(0, 160) : ""));

	for (const e of all("details")) e.open = true; // what is folded is judged as well
	// Drawings count as a whole. What they are made of is much to look at, and says nothing.
	all("svg > :not(title)").forEach(e => e.remove());
	if (structure || colours) {
		const found = await axe.run(document, {
			iframes: false, preload: false, resultTypes: ["violations"],
			runOnly: structure ? ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] :
				{type: "rule", values: ["color-contrast-enhanced"]},
			// The enhanced rule of contrast contains the other.
			rules: structure ? {"color-contrast": {enabled: false}, "color-contrast-enhanced": {enabled: colours}, "target-size": {enabled: true}} : {},
		});
		if (!found.passes.length) say("axe-core judged nothing");
		for (const rule of found.violations)
			for (const node of rule.nodes)
				flaws.push(`axe-core's ${rule.id}: ${node.target.join(" ")}: ${node.failureSummary.replace(/\s+/g, " ")}`);
	}

	if (document.documentElement.scrollWidth > innerWidth) say("it must be scrolled sideways (1.4.10)");
	for (const e of shown("a, button, summary, input:not([type=hidden])")) {
		const {width, height} = (e.matches("[type=radio], [type=checkbox]") && e.closest("label") || e).getBoundingClientRect();
		const within = getComputedStyle(e).display == "inline" && e.parentNode.textContent.trim() != e.textContent.trim();
		if (!within && (width < 44 || height < 44)) say(`${width} by ${height} px are too small to touch (2.5.5)`, e);
	}
	const html = document.documentElement;
	if (!whole) {
		html.style.fontSize = "225%"; // what the style sheet says, twice
		if (innerWidth >= 640 && html.scrollWidth > innerWidth) say("with twice the text it must be scrolled sideways (1.4.4)");
		html.style.fontSize = "";
		return flaws;
	}
	if (html.lang != lang || html.dir != dir) say(`the page is in ${html.lang}, ${html.dir} (3.1.1)`);
	for (const e of all("svg"))
		if (e.ariaHidden != "true" && !e.closest("[aria-hidden=true]") && !e.ariaLabel && !e.querySelector("title"))
			say("a drawing without words (1.1.1)", e);
	for (const e of all("[aria-labelledby], [aria-describedby]"))
		for (const id of (e.getAttribute("aria-labelledby") || e.getAttribute("aria-describedby")).split(" "))
			if (!document.getElementById(id)) say("it is named by nothing (1.3.1)", e);
	if (document.getAnimations().length) say("something moves (2.2.2)");
	for (const e of shown("a, button, summary, input:not([type=hidden])")) {
		e.focus();
		const {outlineStyle, outlineWidth} = getComputedStyle(e);
		if (outlineStyle == "none" || parseFloat(outlineWidth) < 2) say("it does not show that it has the focus (2.4.7)", e);
		e.blur();
	}
	return flaws;
}
