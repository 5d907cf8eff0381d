package web

import "testing"

func TestPhone(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"01 99 00 12 34": "tel:0199001234", "01.99.00.12.34": "tel:0199001234", "+33 (0)1 99 00 12 34": "tel:+33199001234",
		"116 006": "tel:116006", "15": "tel:15", "3960": "tel:3960", "01" + noBreak + "99-00-12-34": "tel:0199001234",
		"": "", "1": "", "javascript:alert(1)": "", "01 99 00 12 34 ou 06 99 00 12 34": "", "tel:112": "", "+": "", "*#06#": "",
		"0199001234;ext=1": "", "01\n99": "", "١١٢": "",
	} {
		if p := NewPhone(text); string(p.Href) != want {
			t.Errorf("%q: %q, want %q", text, p.Href, want)
		}
	}
	if p := NewSMS("114"); p.Href != "sms:114" || p.Text != "114" {
		t.Errorf("%+v", p)
	}
}
