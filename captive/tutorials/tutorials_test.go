package tutorials

import "testing"

func TestOwnLessonsAreThere(t *testing.T) {
	t.Parallel()
	l := Own()
	lessons := 0
	for _, p := range l.Paths() {
		lessons += len(p.Lessons)
	}
	if lessons < 24 {
		t.Errorf("%d lessons, want 24 or more", lessons)
	}
	if hits := l.Search("fr", "mot de pase", 3); len(hits) == 0 || hits[0].Lesson.Slug != "mots-de-passe" {
		t.Errorf("found %v", hits)
	}
}
