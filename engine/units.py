"""What may follow a number: known units and known nouns, and nothing else.

A word behind a number can change its value: "5 lakh", "3 fifths", "5 negative". No list of such
words is complete. So this file lists what a unit *is*, and every other word is refused. A right
answer with a rare noun is then not paid. A wrong answer never is.

Promise: a word that is not listed here is no unit.
To read: `unit_of` and `same_unit`; the tables are what they know.
Held to it by tests/test_answers.py and `python -m tests.fuzz`.

A unit phrase has one of these forms, with few words in each:

    kilometers   km   $   %   square feet      a unit of measure
    eggs   duck eggs   red marbles             a counted noun, with at most one word before
    slices of pizza                            a part of something
    miles per hour   $ / day   eggs a day      a rate
    left   in total   eggs left                a remark that changes nothing
"""
import re

# ---- units of measure: the name, then its other spellings. Plurals are found by `singular`. ------
MEASURES = """
%: percent pct
°: degree deg
°C: ℃ celsius
°F: ℉ fahrenheit
dollar: $ usd buck us$
cent: ¢
euro: € eur
£: gbp
yuan: cny rmb 元
¥: jpy
yen: 円
rupee: ₹ inr rs Rs
peso:
won:
franc:
pound:
lb: lbs LB LBS
millimeter: mm millimetre
centimeter: cm CM centimetre
meter: m metre
kilometer: km KM Km kms kilometre
inch: in
foot: ft FT
yard: yd yds
mile: mi
square: squares
cube: cubes
acre:
hectare: ha
milligram: mg milligramme
gram: g gramme gm gms
kilogram: kg KG Kg kgs kilo kilogramme
ton:
tonne:
ounce: oz OZ
milliliter: ml mL ML millilitre
centiliter: cl centilitre
liter: l L litre
cup:
pint: pt
quart: qt
gallon: gal gals
bushel:
tablespoon: tbsp tbs tablespoonful
teaspoon: tsp teaspoonful
millisecond: ms
second: s sec secs
minute: min mins
hour: h hr hrs
day:
weekday:
week: wk wks
fortnight:
month:
year: yr yrs
decade:
century:
am: AM a.m
pm: PM p.m
o'clock:
calorie: cal cals
kilocalorie: kcal
joule:
watt:
kilowatt: kW kw
volt:
amp: ampere
hertz: Hz
newton:
byte:
kilobyte: kb KB
megabyte: MB
gigabyte: GB
terabyte: TB
radian: rad
knot:
points: pts
quarters:
mile/hour: mph MPH
kilometer/hour: kmh kph kmph
mile/gallon: mpg
"""
LENGTHS = set("millimeter centimeter meter kilometer inch foot yard mile".split())
POWERS = {"square": "square", "sq": "square", "cubic": "cubic", "cu": "cubic"}
CURRENCIES = {
    "$": "dollar", "US$": "dollar", "USD": "dollar", "€": "euro", "EUR": "euro",
    "£": "£", "GBP": "£",
    "¥": "¥", "JPY": "¥", "₹": "rupee", "Rs": "rupee", "Rs.": "rupee", "INR": "rupee"}
TWO_WORDS = {
    "degree celsius": "°C", "degree fahrenheit": "°F", "° c": "°C", "° f": "°F",
    "° celsius": "°C", "° fahrenheit": "°F", "degree c": "°C", "degree f": "°F",
    "us dollar": "dollar", "fluid ounce": "fluid ounce", "fl oz": "fluid ounce",
    "light year": "light year", "nautical mile": "nautical mile", "metric ton": "tonne",
    "per cent": "%", "school day": "school day", "kilowatt hour": "kilowatt hour",
    "square unit": "square unit", "cubic unit": "cubic unit"}
# These pairs are one unit in some texts: a "pound" is money or a weight, a "degree" has any scale.
ALIKE = [
    {"pound", "lb"}, {"pound", "£"}, {"°", "°C"}, {"°", "°F"}, {"¥", "yen"}, {"¥", "yuan"}]

# ---- nouns: what exercises count. Singular, or the form that is counted ("fish", "people"). ------
NOUNS = {
    "people": """
person people man woman boy girl child kid baby toddler teenager adult senior human individual
member student pupil teacher classmate friend roommate neighbor neighbour guest visitor customer
client patron buyer seller shopper passenger driver rider runner racer athlete player swimmer
singer dancer pianist musician actor artist writer author reader worker employee builder painter
plumber farmer baker chef cook waiter waitress server cashier clerk nurse doctor patient dentist
lawyer engineer scientist programmer soldier officer police policeman firefighter pilot sailor
captain king queen prince princess knight pirate elf gnome monster dragon vampire zombie robot
parent mother father mom dad son daughter sister brother sibling cousin nephew niece uncle aunt
grandparent grandmother grandfather grandchild grandson granddaughter family participant attendee
contestant competitor candidate voter applicant volunteer donor tourist traveler camper hiker
surfer skater spectator fan follower subscriber user owner resident citizen tenant lady gentleman
guy scout coach judge referee
""",
    "animals and their parts": """
animal pet dog puppy pup cat kitten horse pony cow calf bull ox goat lamb sheep pig piglet hog
donkey llama camel chicken chick hen rooster duck duckling goose turkey swan bird crow pigeon
seagull parrot owl eagle hawk peacock penguin flamingo rabbit bunny hare hamster guppy mouse rat
squirrel chipmunk hedgehog skunk raccoon fox wolf bear panda koala kangaroo lion tiger leopard
cheetah elephant giraffe zebra hippo rhino monkey gorilla ape deer moose elk buffalo bison snake
lizard gecko turtle tortoise frog toad tadpole alligator crocodile fish goldfish minnow trout
salmon tuna cod shark whale dolphin seal otter octopus squid jellyfish starfish crab lobster
shrimp oyster clam scallop snail slug worm caterpillar butterfly moth bee wasp ant fly mosquito
flea tick bug insect beetle ladybug cricket grasshopper spider millipede cockroach dinosaur
unicorn leg arm hand foot finger toe ear eye nose tooth head tail wing paw claw horn feather
whisker hair bone muscle heart egg yolk nest
""",
    "fruit, vegetables, plants": """
apple orange banana pear peach plum apricot cherry grape lemon lime melon watermelon cantaloupe
mango papaya pineapple kiwi coconut fig date strawberry blueberry raspberry blackberry cranberry
berry avocado tomato potato carrot onion pepper cucumber pumpkin squash zucchini eggplant broccoli
cauliflower cabbage lettuce radish turnip beet bean pea pod mushroom olive pickle corn clove nut
peanut walnut almond cashew pecan acorn raisin seed kernel grain fruit vegetable salad herb leaf
stem petal branch twig stick log plant flower rose tulip daisy lily sunflower orchid carnation
marigold bouquet tree bush shrub sapling seedling pine oak vine thorn weed bulb crop
""",
    "food and drink": """
cookie cake cupcake pie tart pastry muffin brownie donut doughnut bagel biscuit cracker pancake
waffle croissant pretzel cone candy candies chocolate lollipop gumball gumdrop jellybean
marshmallow caramel sweet treat snack chip fry hotdog hamburger burger cheeseburger sandwich taco
burrito pizza pasta noodle dumpling meatball sausage steak rib nugget omelet omelette sushi soup
stew meal breakfast lunch dinner supper dessert appetizer course entree serving helping portion
ration smoothie shake milkshake soda juice coffee tea latte drink beverage beer wine cocktail
popsicle sundae
""",
    "parts, portions, groups": """
slice piece bite chunk segment section part scoop pinch drop sip spoonful cupful handful bag
bagful baggie box boxful case crate carton container package packet pack bundle bunch basket
bucket pail bowl plate tray dish pan pot jar jug pitcher bottle can cup mug glass tin tube tub
barrel keg tank cooler sack pouch pocket purse wallet suitcase backpack drawer shelf cabinet
cupboard closet bin load truckload batch stack pile heap bale roll spool skein ball sheet strip
block bar brick tile plank board beam bolt loaf cluster group team class squad band club crew gang
party herd flock school litter swarm hive colony row column line lane layer level stage round lap
turn trip visit ride flight drive walk hike run jog race game match inning period goal touchdown
homerun shot hit pass catch throw save win tie draw vote ballot push-up pushup sit-up situp squat
jump stroke step stair rung floor story storey
""",
    "words and work": """
book notebook textbook novel comic magazine newspaper paper page chapter paragraph sentence word
letter vowel consonant character syllable verse poem sonnet song album record tune note lesson
lecture exam test quiz question problem puzzle riddle answer assignment essay report project task
chore homework grade mark subject topic example exercise session meeting episode season show movie
film video photo photograph picture painting drawing sketch poster postcard card stamp sticker
ticket coupon voucher token badge medal trophy award prize gift present envelope email mail
message text call file document folder form pamphlet brochure flyer copy article post comment like
view download app program
""",
    "devices": """
computer laptop tablet phone cellphone smartphone camera television tv radio speaker headphone
console printer screen monitor keyboard battery charger cable wire lightbulb lamp light flashlight
candle lantern torch pen pencil crayon marker highlighter eraser ruler stapler clip paperclip pin
tack desk chair seat stool bench sofa couch table bed pillow blanket quilt mattress carpet
""",
    "the house": """
rug curtain mirror clock watch vase frame heater oven stove fridge refrigerator freezer microwave
toaster blender sink toilet bathtub shower towel sponge brush broom mop vacuum washer dryer
machine
""",
    "tools and kitchen": """
appliance tool hammer nail screw saw drill wrench ladder rope chain hook hose shovel rake fork
spoon knife teacup saucer napkin straw toothpick toothbrush tissue diaper wipe soap shampoo
""",
    "clothes and jewels": """
shirt blouse sweater hoodie jacket coat vest suit dress skirt pants trousers jeans shorts sock
shoe boot sandal sneaker slipper heel hat cap helmet scarf glove mitten belt necktie bow ribbon
button zipper sequin bead thread string needle stitch patch cloth fabric garment outfit uniform
costume mask crown ring necklace bracelet earring brooch jewel gem gemstone diamond ruby emerald
sapphire pearl rhinestone
""",
    "toys, vehicles, places": """
toy doll teddy puppet figurine marble balloon kite yo-yo dice die domino bicycle bike
tricycle scooter skateboard skate motorcycle car truck van bus taxi cab train plane airplane
helicopter boat ship canoe kayak yacht ferry carriage wagon cart trailer tractor vehicle wheel
tire tyre spoke engine window door gate wall fence roof room bedroom bathroom kitchen classroom
office house home apartment flat condo cabin tent building tower castle hotel hospital store shop
restaurant cafe bakery library museum theater church bank college university factory farm barn
field garden yard park zoo pool court stadium station airport stop port bridge tunnel road street
highway driveway path trail river lake pond ocean beach island mountain hill valley forest desert
cave hole well city town village country state county continent planet star moon sun galaxy cloud
rock stone pebble
""",
    "money and other things": """
shell seashell crystal coin penny nickel dime bill check cheque receipt share stock bond account
loan job shift order sale purchase item product good object thing unit sample model type kind sort
color colour flavor flavour size shape circle triangle rectangle polygon side corner edge face
vertex angle dot spot stripe gap space site location position plot lot pew booth stall stand drum
guitar violin piano flute trumpet clarinet trombone saxophone cello harp instrument pill capsule
dose vitamin bandage injection vaccine virus bacterium cell flag banner sign firework firecracker
rocket sparkler snowflake snowball snowman sandcastle heartbeat breath beat blink dream wish joke
idea mistake error fault complaint rule law reason chance attempt try trial experiment event
concert play performance festival parade holiday birthday vacation anniversary wedding appointment
interview tour cruise sail credit reward demerit subscription signature donation contribution
payment installment fee option choice combination arrangement permutation outcome possibility
solution way integer digit number value multiple factor divisor prime root term element widget
gadget device component parcel pallet hotcake crepe quesadilla chimichanga
hushpuppy granola beignet macaron macaroon crouton beanie cuttlebone teapot kettle thermos flask
canteen cork lid bottlecap jersey bat racket racquet paddle puck net hoop set reindeer
"""}
# What is not counted, but can be measured out: "5 cups of flour".
STUFF = """
water milk juice soda cola lemonade tea coffee cocoa beer wine flour sugar salt butter oil cream
yogurt cheese bread dough rice pasta cereal oatmeal corn wheat hay grass meat beef pork ham bacon
chicken turkey fish soup sauce honey syrup jam jelly ketchup mayonnaise mustard vinegar ice
popcorn candy chocolate fudge gum fruit food pizza cake pie paper wood lumber metal iron steel
gold silver copper glass plastic rubber cotton wool silk yarn fabric cloth thread string ribbon
rope wire clay sand dirt soil gravel mulch cement concrete paint glue tape soap shampoo detergent
laundry gas gasoline fuel air money cash homework work sleep exercise practice time rain snow
trash garbage garlic spinach celery ginger
"""
ADJECTIVES = """
red orange yellow green blue purple violet pink brown black white gray grey gold golden silver
bronze dark light bright big large huge small little tiny short tall long wide medium regular
jumbo giant mini new old used young fresh ripe unripe rotten broken damaged empty full clean dirty
wet dry hot cold warm frozen sweet sour spicy plain fancy cheap expensive free rare common single
round wooden plastic metal paper glass stuffed striped spotted colored male female adult foreign
different unique distinct possible unused leftover unsold sold lost missing stolen incorrect
correct wrong right unanswered baked fried boiled chocolate vanilla strawberry indoor outdoor
public private working human wild tame healthy sick injured favorite special electric digital
solar
"""
NEUTRAL = set("more extra additional total whole entire other remaining".split())
REMARKS = [
    ["in", "total"], ["in", "all"], ["left", "over"], ["per", "person"], ["left"], ["leftover"],
    ["remaining"], ["total"], ["altogether"], ["overall"], ["each"], ["apiece"], ["more"], ["away"],
    ["apart"], ["old"], ["long"], ["wide"], ["tall"], ["high"], ["deep"], ["thick"]]
IRREGULAR = {
    "people": "person", "men": "man", "women": "woman", "children": "child",
    "grandchildren": "grandchild", "policemen": "policeman", "snowmen": "snowman",
    "gentlemen": "gentleman", "feet": "foot", "teeth": "tooth", "geese": "goose",
    "mice": "mouse", "oxen": "ox", "dice": "die", "calves": "calf", "wolves": "wolf",
    "elves": "elf", "leaves": "leaf", "loaves": "loaf", "knives": "knife", "shelves": "shelf",
    "scarves": "scarf", "vertices": "vertex", "quizzes": "quiz", "bacteria": "bacterium",
    "centuries": "century", "pennies": "penny", "cookies": "cookie", "movies": "movie",
    "brownies": "brownie", "pies": "pie", "ties": "tie", "selfies": "selfie"}
MAX_WORDS = 5

# In running prose any word may follow a number. These make another number of it: "3 fifths".
SCALES = set("""
hundred hundreds thousand thousands million millions billion billions trillion trillions mn bn mio
k lakh lakhs lac crore crores dozen dozens score gross grand half halves third thirds quarter
quarters fourth fourths fifth fifths sixth sixths seventh sevenths eighth eighths ninth ninths
tenth tenths twelfth twelfths hundredth hundredths thousandth thousandths millionth millionths
squared cubed factorial pi
""".split())


def spellings(table):
    """Every spelling of every unit in a table like MEASURES -> its name.

    >>> spellings("meter: m metre")
    {'meter': 'meter', 'm': 'meter', 'metre': 'meter'}
    """
    names = {}
    for line in table.strip().splitlines():
        name, _, others = line.partition(":")
        names[name] = name
        for other in others.split():
            names[other] = name
    return names


SPELLINGS = spellings(MEASURES)
COUNTED = {word for group in NOUNS.values() for word in group.split()}
MASS = set(STUFF.split())
ADJECTIVE = set(ADJECTIVES.split())
PLURAL_ONLY = {"square", "cube", "bill", "log", "bin"}  # "3 square" may be 9
SHORT = {word for word in SPELLINGS if len(word) <= 2 and word.isalpha()}  # case counts


def singular(word, known):
    """The singular of a lower-case word, if `known` (a set or a dict) holds it, else None.

    >>> [singular(w, {"box", "berry", "foot"}) for w in ("boxes", "berries", "feet", "fifths")]
    ['box', 'berry', 'foot', None]
    """
    forms = [IRREGULAR.get(word, word), word.removesuffix("s"), word.removesuffix("es")]
    if word.endswith("ies"):
        forms.append(word[:-3] + "y")
    for form in forms:
        if form in known and len(form) > 1:
            return form
    return None


def measure(word):
    """The name of a unit of measure in any of its spellings, else None.

    >>> [measure(w) for w in ("km", "Kilometers", "kg", "M", "MM", "lakh")]
    ['kilometer', 'kilometer', 'kilogram', None, None, None]
    """
    if word in SPELLINGS:
        return SPELLINGS[word] if word not in PLURAL_ONLY else None
    lower = word.lower()
    form = singular(lower, SPELLINGS)
    if form is None or form in SHORT or form in PLURAL_ONLY:
        return None
    return SPELLINGS[form]


def noun(word):
    """The singular of a counted noun, else None."""
    form = singular(word.lower(), COUNTED)
    return None if word.lower() in PLURAL_ONLY else form


def one_thing(words):
    """The name of what one or two words say is measured or counted, else None.

    >>> [one_thing(t.split()) for t in ("eggs", "duck eggs", "square feet", "half mile")]
    ['egg', 'duck egg', 'square foot', None]
    """
    if len(words) == 1:
        return measure(words[0]) or noun(words[0])
    if len(words) != 2:
        return None
    first, second = words[0].lower(), words[1].lower()
    for last in (second, measure(second), noun(second)):
        if f"{first} {last}" in TWO_WORDS:
            return TWO_WORDS[f"{first} {last}"]
        if f"{singular(first, SPELLINGS)} {last}" in TWO_WORDS:
            return TWO_WORDS[f"{singular(first, SPELLINGS)} {last}"]
    if first.rstrip(".") in POWERS:
        length = measure(words[1])
        return f"{POWERS[first.rstrip('.')]} {length}" if length in LENGTHS else None
    counted = noun(second)
    if counted is None or measure(second) not in (None, counted):
        return None
    if first in ADJECTIVE:
        return f"{first} {counted}"
    if noun(first) and measure(first) is None:
        return f"{noun(first)} {counted}"
    return None


def amount(words):
    """The name of a thing, or of a part of one ("slice of pizza"); "" for no words; else None."""
    for remark in REMARKS:
        if [word.lower() for word in words[-len(remark):]] == remark:
            words = words[:-len(remark)]
            break
    while words and words[0].lower() in NEUTRAL:
        words = words[1:]
    if not words:
        return ""
    if len(words) >= 3 and words[1].lower() == "of":
        part, whole = one_thing(words[:1]), one_thing(words[2:])
        if whole is None and len(words) == 3 and words[2].lower() in MASS:
            whole = words[2].lower()
        return f"{part} of {whole}" if part and whole else None
    return one_thing(words)


def powers(text):
    """Spell out a power behind a length: m^2, m² and m2 are square meters.

    >>> powers("cm^{3}"), powers("km²"), powers("x²")
    ('cubic cm', 'square km', 'x²')
    """
    found = re.fullmatch(r"([A-Za-z]{1,12})\s?(?:\^\{?([23])\}?|([²³]))", text)
    if not found or measure(found[1]) not in LENGTHS:
        return text
    return ("square " if (found[2] or found[3]) in "2²" else "cubic ") + found[1]


def unit_of(text):
    """The name of the unit in a text behind a number: "" if it adds nothing, None if it is no unit.

    >>> [unit_of(t) for t in ("km", "miles per hour", "eggs left", "in total", "slices of pizza")]
    ['kilometer', 'mile/hour', 'egg', '', 'slice of pizza']
    >>> [unit_of(t) for t in ("fifths", "negative", "bn", "lakh", "k", "dozen", "or 6", "squared")]
    [None, None, None, None, None, None, None, None]
    """
    text = powers(text.strip())
    if text in SPELLINGS:
        return measure(text)
    words = re.sub(r"\s*(/|°)\s*", r" \1 ", text).split()
    words = [word.removesuffix(".") if word[:1].isalpha() else word for word in words]
    if len(words) > MAX_WORDS:
        return None
    lower = [word.lower() for word in words]
    if lower == ["per", "cent"]:
        return "%"
    for i, word in enumerate(lower):
        if word in ("per", "/", "every", "a", "an") or word == "each" and 0 < i < len(words) - 1:
            if lower[i:] == ["per", "person"]:
                return amount(words)
            top, bottom = amount(words[:i]), one_thing(words[i + 1:])
            return None if top is None or not bottom or "/" in bottom else f"{top}/{bottom}"
    return amount(words)


def with_currency(currency, unit):
    """The unit of "$5 per hour": a currency before, a unit behind. None if they disagree.

    >>> [with_currency("$", unit) for unit in ("/hour", "", "dollar", "cent")]
    ['dollar/hour', 'dollar', 'dollar', None]
    """
    name = CURRENCIES[currency]
    if unit == "" or unit.startswith("/"):
        return name + unit
    return unit if unit.split("/")[0] == name else None


def same_unit(first, second):
    """Do two unit names agree? A bare number ("") agrees with every unit.

    >>> same_unit("dollar", ""), same_unit("dollar", "cent"), same_unit("pound", "lb")
    (True, False, True)
    """
    return not first or not second or first == second or {first, second} in ALIKE
