package captive

import (
	"encoding/json"
	"net/http"
	"time"

	"passerelle/appliance/decide"
)

// Status is what GET /session says with Accept: application/json. Fields are added, never changed.
type Status struct {
	State        decide.State `json:"state"`
	Online       bool         `json:"online"`                // the resident's packets pass
	SecondsLeft  int64        `json:"seconds_left"`          // until the session ends by itself; 0 without one
	SecondsGiven int64        `json:"seconds_given"`         // the session's whole length
	BytesLeft    *uint64      `json:"bytes_left,omitempty"`  // of today; absent if there is no limit or no session
	BytesGiven   *uint64      `json:"bytes_given,omitempty"` // for the whole day
	CanExtend    bool         `json:"can_extend"`            // POST /session makes the session as long again as a new one
	Stay         bool         `json:"stay"`                  // "stay here" was pressed within the hour
	Busy         bool         `json:"busy,omitempty"`        // what was asked for was not done: ask again, after Retry-After
}

func (s *Server) mineJSON(w http.ResponseWriter, r *request) {
	s.writeJSON(w, "application/json", "no-store", http.StatusOK, s.status(r))
}

// status is how things are for the resident.
func (s *Server) status(r *request) Status {
	st := Status{State: r.view.State, Online: r.online(), Stay: s.staying(r)}
	if r.admitted {
		st.SecondsLeft, st.SecondsGiven = seconds(r.session.Left), seconds(r.session.Length)
		st.CanExtend = r.extends()
		if r.session.Limited {
			st.BytesLeft, st.BytesGiven = &r.session.DataLeft, &r.session.DataGiven
		}
	}
	return st
}

// captivity is the state of captivity, by RFC 8908, section 5. The URLs must be https there, so they are given only if
// the box has one. can-extend-session is true once a press on user-portal-url makes the session longer.
type captivity struct {
	Captive          bool    `json:"captive"`
	UserPortalURL    string  `json:"user-portal-url,omitempty"`
	VenueInfoURL     string  `json:"venue-info-url,omitempty"`
	CanExtendSession bool    `json:"can-extend-session"`
	SecondsRemaining *int64  `json:"seconds-remaining,omitempty"` // only out of captivity
	BytesRemaining   *uint64 `json:"bytes-remaining,omitempty"`
}

// api tells phones that ask, instead of probing, whether they are captive. Who stays is not.
func (s *Server) api(w http.ResponseWriter, r *request) {
	c := captivity{Captive: !r.online() && !s.staying(r), UserPortalURL: r.portal, VenueInfoURL: r.portal}
	if r.online() {
		left := seconds(r.session.Left)
		c.SecondsRemaining, c.CanExtendSession = &left, r.extends()
		if r.session.Limited {
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
	w.Write(append(b, '\n')) // a client that went away is no concern of ours
}
