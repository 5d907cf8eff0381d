// Package hw is what the box shows and feels by itself: its light, its button, its temperature and power, and the boards
// that have them. It owns the patterns of each State, the gestures of the button and the table of boards, over periph's
// pins, and the sensors. It must not know what a gesture does, nor how packets go: it is told a State and tells gestures.
//
// One goroutine, [Panel.Run], drives the light and reads the button. A board without either is no error: there is then
// nothing to run.
package hw
