package lend

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg" // photos
	_ "image/png"  // screenshots

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

// Bounds of a photo. A picture's header has its size in pixels, so the memory for decoding it can be bounded before it is decoded.
const (
	MaxPhoto   = 10_000_000 // bytes
	MaxPixels  = 8_000_000
	maxDecoded = 40_000_000 // bytes of memory for the pixels
)

// Errors of ReadCode.
var (
	ErrPicture = errors.New("this is no JPEG or PNG picture, or it is damaged")
	ErrLarge   = errors.New("the picture has too many pixels")
	ErrNoCode  = errors.New("no QR code is seen on the picture")
	ErrReading = errors.New("another picture is being read")
)

// reading holds an element while a picture is being read.
var reading = make(chan struct{}, 1)

// ReadCode returns the text of the QR code on a photo, a JPEG or PNG. One picture is read at a time: meanwhile the error for others is
// ErrReading. The other errors are ErrPicture, ErrLarge and ErrNoCode.
func ReadCode(photo []byte) (text string, err error) {
	select {
	case reading <- struct{}{}:
		defer func() { <-reading }()
	default:
		return "", ErrReading
	}
	return readCode(photo)
}

func readCode(photo []byte) (text string, err error) {
	defer func() { // a decoder may have a bug that a picture triggers
		if p := recover(); p != nil {
			text, err = "", fmt.Errorf("%w: %v", ErrPicture, p)
		}
	}()
	head, format, err := image.DecodeConfig(bytes.NewReader(photo))
	switch {
	case err != nil || head.Width <= 0 || head.Height <= 0:
		return "", ErrPicture
	case head.Width > MaxPixels || head.Height > MaxPixels:
		return "", ErrLarge
	}
	if pixels := int64(head.Width) * int64(head.Height); pixels > MaxPixels || pixels*cost(photo, format, head.ColorModel) > maxDecoded {
		return "", ErrLarge
	}
	picture, _, err := image.Decode(bytes.NewReader(photo))
	if err != nil {
		return "", ErrPicture
	}
	hints := map[gozxing.DecodeHintType]any{
		gozxing.DecodeHintType_TRY_HARDER: true, gozxing.DecodeHintType_CHARACTER_SET: "UTF-8",
	}
	for _, most := range []int{1200, 2400} { // a small picture is quicker and has less noise; a code that is far away needs a larger one
		grey := shrink(picture, most)
		bitmap, err := gozxing.NewBinaryBitmap(gozxing.NewHybridBinarizer(gozxing.NewLuminanceSourceFromImage(grey)))
		if err != nil {
			return "", ErrNoCode
		}
		if found, err := qrcode.NewQRCodeReader().Decode(bitmap, hints); err == nil {
			return found.GetText(), nil
		}
		if b := picture.Bounds(); max(b.Dx(), b.Dy()) <= most {
			break
		}
	}
	return "", ErrNoCode
}

// Markers of a JPEG (ISO/IEC 10918-1, table B.1).
const (
	markerTEM  = 0x01
	markerSOF0 = 0xc0
	markerSOF2 = 0xc2 // a progressive frame
	markerRST0 = 0xd0
	markerSOI  = 0xd8 // follows the last RST
	markerEOI  = 0xd9
	markerSOS  = 0xda
)

// cost returns an upper bound of the bytes of memory that a pixel takes while a picture is decoded. A JPEG takes one byte for each of
// up to four components. If they are not a brightness and two colours, they are then copied into a picture of four bytes a pixel. Of a
// progressive JPEG all coefficients are in memory, too, four bytes each.
func cost(photo []byte, format string, model color.Model) int64 {
	switch {
	case format == "jpeg":
		size, components := int64(4), int64(3)
		if model == color.CMYKModel || model == color.RGBAModel {
			size, components = 8, 4
		}
		if at := frame(photo); at >= 0 && photo[at] == markerSOF2 {
			size += 4 * components
		}
		return size
	case model == color.RGBA64Model || model == color.NRGBA64Model:
		return 8
	}
	return 4
}

// frame returns where the second byte of a JPEG's first frame marker is, of the three kinds that image/jpeg decodes, or -1 if there is
// none before the first scan (ISO/IEC 10918-1, B.1.1). It skips bytes between segments, as image/jpeg does: otherwise it could miss the
// frame that is decoded.
func frame(photo []byte) int {
	for at := 0; ; {
		next := bytes.IndexByte(photo[at:], 0xff)
		if next < 0 {
			return -1
		}
		at += next
		for at < len(photo) && photo[at] == 0xff { // more than one are fill bytes
			at++
		}
		if at == len(photo) {
			return -1
		}
		switch m := photo[at]; {
		case m == markerEOI || m == markerSOS:
			return -1
		case m == 0 || m == markerTEM || m >= markerRST0 && m <= markerSOI: // they have no length
			at++
		case m >= markerSOF0 && m <= markerSOF2:
			return at
		case len(photo) < at+3:
			return -1
		default:
			at = min(at+1+int(photo[at+1])<<8+int(photo[at+2]), len(photo))
		}
	}
}

// shrink returns a picture in grey with sides of at most that many pixels. A pixel is the mean of those that it stands for.
func shrink(p image.Image, most int) *image.Gray {
	b := p.Bounds()
	step := (max(b.Dx(), b.Dy()) + most - 1) / most
	small := image.NewGray(image.Rect(0, 0, max(1, b.Dx()/step), max(1, b.Dy()/step)))
	luma := lumaOf(p)
	for y := range small.Rect.Dy() {
		for x := range small.Rect.Dx() {
			sum, n := 0, 0
			for dy := range step {
				for dx := range step {
					if px, py := b.Min.X+x*step+dx, b.Min.Y+y*step+dy; px < b.Max.X && py < b.Max.Y {
						sum += luma(px, py)
						n++
					}
				}
			}
			small.Pix[y*small.Stride+x] = uint8(sum / n)
		}
	}
	return small
}

// lumaOf returns a function that returns a pixel's brightness, 0 to 255. JPEG photos store the brightness itself.
func lumaOf(p image.Image) func(x, y int) int {
	switch p := p.(type) {
	case *image.YCbCr:
		return func(x, y int) int { return int(p.Y[p.YOffset(x, y)]) }
	case *image.Gray:
		return func(x, y int) int { return int(p.GrayAt(x, y).Y) }
	}
	return func(x, y int) int {
		r, g, b, a := p.At(x, y).RGBA() // transparent pixels are white
		return int((19595*(r+0xffff-a) + 38470*(g+0xffff-a) + 7471*(b+0xffff-a) + 1<<15) >> 24)
	}
}
