package captive

import (
	"encoding/json"
	"net/http"
	"time"

	"passerelle/appliance/state"
)

// Status is the JSON of GET /session. Fields are added, never changed.
type Status struct {
	State        state.State `json:"state"`
	Online       bool        `json:"online"`                // the resident's packets pass
	SecondsLeft  int64       `json:"seconds_left"`          // until the session expires; 0 without one
	SecondsGiven int64       `json:"seconds_given"`         // the session's full length
	BytesLeft    *uint64     `json:"bytes_left,omitempty"`  // today's; absent without a limit or a session
	BytesGiven   *uint64     `json:"bytes_given,omitempty"` // for the whole day
	Slow         bool        `json:"slow,omitempty"`        // today's data is used, and the session continues slowly
	CanExtend    bool        `json:"can_extend"`            // POST /session restores the session's full length
	Stay         bool        `json:"stay"`                  // "stay here" was pressed within the hour
	Busy         bool        `json:"busy,omitempty"`        // the request was not carried out: repeat it after Retry-After
}

func (s *Server) sessionJSON(w http.ResponseWriter, r *request) {
	s.writeJSON(w, "application/json", "no-store", http.StatusOK, s.status(r))
}

// status returns the resident's session and access.
func (s *Server) status(r *request) Status {
	st := Status{State: r.site.State, Online: r.online(), Stay: s.dismissed(r)}
	if r.authorized {
		st.SecondsLeft, st.SecondsGiven = seconds(r.session.Left), seconds(r.session.Length)
		st.CanExtend, st.Slow = r.extends(), r.session.Slow
		if r.session.Limited {
			st.BytesLeft, st.BytesGiven = &r.session.DataLeft, &r.session.DataGiven
		}
	}
	return st
}

// captivity is the captive portal's state (RFC 8908, section 5). Its URLs must be https, so they are given only if the box
// has an https URL. can-extend-session is true while a press at user-portal-url makes the session longer.
type captivity struct {
	Captive          bool    `json:"captive"`
	UserPortalURL    string  `json:"user-portal-url,omitempty"`
	VenueInfoURL     string  `json:"venue-info-url,omitempty"`
	CanExtendSession bool    `json:"can-extend-session"`
	SecondsRemaining *int64  `json:"seconds-remaining,omitempty"` // only if not captive
	BytesRemaining   *uint64 `json:"bytes-remaining,omitempty"`
}

// api tells phones that query the captive-portal API, instead of probing, whether they are captive. A resident who dismissed the
// portal is not.
func (s *Server) api(w http.ResponseWriter, r *request) {
	c := captivity{Captive: !r.online() && !s.dismissed(r), UserPortalURL: r.portal, VenueInfoURL: r.portal}
	if r.online() {
		left := seconds(r.session.Left)
		c.SecondsRemaining, c.CanExtendSession = &left, r.extends()
		if r.session.Limited && !r.session.Slow { // a slow session does not end when its bytes are used
			c.BytesRemaining = &r.session.DataLeft
		}
	}
	s.writeJSON(w, "application/captive+json", "private, no-store", http.StatusOK, c)
}

func seconds(d time.Duration) int64 { return int64(max(d, 0) / time.Second) }

func (s *Server) writeJSON(w http.ResponseWriter, contentType, cacheControl string, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		s.log.Error("write JSON", "err", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", cacheControl)
	h["X-Content-Type-Options"] = []string{"nosniff"}
	w.WriteHeader(status)
	w.Write(append(b, '\n')) // an error means that the client is gone
}
