"""The closed-class words by which instructions are parsed. Any word that is not listed here can name an object."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.split("|"))


DETERMINERS = _words(
    "the a an this that these those both all every each some any my your its their his her our another "
    "two three four five six either"
)

PRONOUNS = _words(
    "it them they itself themselves everything something anything there here him me you i we us one ones "
    "mine yours this that these those both all each another either yourself myself himself herself ourselves "
    "everyone someone somebody anyone anybody her his nothing"
)
"""Words that stand for an object named before. Some are determiners too; they are pronouns if no noun follows."""

PERSONS = _words("me him us you someone somebody everyone")
"""A person who receives an object: "bring me the cup"."""

PRONOUN_PHRASES = _phrases(
    "each other | one another | the other | the others | the other one | the rest | the same | its place "
    "| the other ones | all of them | all of it | both of them | each of them | one of them | the same place "
    "| a rest | a break | a look"
)

COLLECTIVES = _phrases(
    "everything | everything else | anything | something | all | all of them | the rest | the others | the other ones"
)
"""Pronouns that stand for objects without names: "put everything in the bin" asks about the bin only."""
QUANTIFIERS = _words("all both each any some half most either two three four five six several many")
"""They may stand before "of": "all of the blocks"."""
SINGULAR_ENDINGS = ("ss", "us", "is", "as", "os")
"""Of nouns that are no plural: glass, cactus, tennis, gas, cheerios."""
PAIRS = _words(
    "scissors glasses sunglasses goggles binoculars tongs pliers tweezers pants shorts jeans trousers tights "
    "headphones earphones earbuds clothes contents lens"
)
"""Nouns that end like a plural and name one object."""

BODY = _phrases(
    "robot | robots | gripper | grippers | arm | arms | hand | hands | end effector | fingers | fingertips | base | "
    "robot arm | robot arms | robot hand | robot gripper | robot base | robot's arm | robot's gripper | robot's "
    "hand | robot's base | arm's base | home | home position | home pose | start position | starting position | "
    "rest position | initial position | original position"
)
"""Nouns for the robot itself. It is no object to ask about, unless another word tells it apart ("the toy robot")."""
BODY_MODIFIERS = _words("left right other same own single free robotic one first second")

ADJECTIVES = _words(
    "red green blue yellow orange purple violet pink brown black white gray grey cyan magenta silver gold golden "
    "beige turquoise navy maroon transparent clear light dark bright "
    "big bigger biggest small smaller smallest large larger largest tiny little tall taller tallest short long "
    "metal wooden plastic glass ceramic paper steel striped round square empty full"
)
"""They tell "the yellow and white mug" (one object) from "the apple and pear" (two)."""

SIDES = _words(
    "left right front back top bottom middle center centre side sides edge corner end rear up down "
    "far near forward forwards backward backwards upward upwards downward downwards rightmost leftmost"
)
"""Sides: "the left" names no object unless a noun or an of-phrase follows."""

ADVERBS = _words(
    "back up down away forward forwards backward backwards upward upwards downward downwards upright sideways left "
    "right together apart again carefully gently slowly quickly firmly completely fully slightly partially clockwise "
    "counterclockwise anticlockwise straight closed shut open opened inside outside out off on in over aside halfway "
    "around vertically horizontally closer nearer higher lower further farther first next too please now "
    "afterwards upside ajar through along"
)
"""Words that may follow an object's name without belonging to it: "the lid back", "the drawer open"."""

ADVERB_PHRASES = _phrases(
    "all the way | a little bit | a bit | upside down | at the same time | as far as possible | let go of it "
    "| let it go | let go | make sure that | make sure | be sure to | ensure that | ensure | remember to "
    "| don't forget to | do not forget to | one by one | one at a time | one after another | one after the other "
    "| all at once | at once | in one go | by hand | on its own | by itself | on purpose | as fast as you can "
    "| as quickly as possible | as quickly as you can | as fast as possible | as slowly as possible | in halves "
    "| as carefully as possible | in half | in quarters | in thirds | in order | in turn | in a row | in a line "
    "| in a circle | in a stack | for me | for us | for him | for her | for you | for them | for free | by "
    "color | by colour | by size | by shape | by type"
)
"""Removed before parsing, because they hold words that would begin an object's name."""

_COUNT = (
    r"(?:a|an|one|two|three|four|five|six|ten|a few|several|some|many|multiple|a couple of|\d+(?:\.\d+)?)"
)
ADJUNCTS = (
    r"\bfor (?:about |at least )?"
    + _COUNT
    + r" ?(?:seconds?|secs?|s|minutes?|mins?|hours?|moments?|while|bit|times?)\b",
    r"\b(?:twice|thrice|" + _COUNT + r" times)\b",
    r"\binto (?:(?:small|thin|thick|equal|two|three|four) )*(?:pieces|slices|hal(?:f|ves)|thirds|quarters|strips)\b",
    r"\bin (?:two|three|four)(?=\s*(?:$|[,;.!?]|and\b|then\b))",
)
"""Adjuncts that say how often, how long or into what shape. They are removed before parsing."""

OCCASION = r"^(for|as|during|since|because|following|on this|in preparation|in order)\b"
REQUEST = (
    r"\b(please|kindly|could you|can you|would you|we need to|you need to|we should|you should|always)\b"
)
"""A sentence may begin with an occasion ("for our breakfast we need to …"), which is removed up to the request."""

RESULT = (
    r"\b(?:make sure|ensure)(?: that)? (.+?) (?:ends? up|is placed|is put|is)(?: securely| safely)? "
    r"(?=(?:on|in|inside|into|under)\b)"
)
"""A wanted result, "make sure the cup ends up on the plate", is read as "put the cup on the plate"."""

MEASURES = _words("degrees degree cm centimeters centimetres inches times")

NEGATORS = _phrases(
    "don't | dont | do not | never | not | avoid | cannot | can't | shouldn't | mustn't | won't | ignore | skip "
    "| without"
)
"""At the beginning of a clause: its objects are not to be touched, so they are not asked about."""
NEGATED = _phrases(
    "but not | and not | not | instead of | rather than | except for | except | other than | apart from | excluding "
    "| without | and leave | but leave"
)
"""After an object: what follows is not to be touched. "without" only before a verb ("without touching the knife")."""

FILLERS = _words(
    "please kindly now then first firstly second secondly next finally lastly afterwards also again just robot hey "
    "ok okay can could would will shall should must need needs you i want like us we let lets let's try to go going "
    "come carefully gently slowly quickly so and help me be careful do just only which who"
)
"""Words before the verb of a request."""

STOPS = _words(
    "is are was were be been being should must will would can't cannot has have had goes needs so until till while "
    "because if when before after once such but or using again please like as via per except excluding instead rather"
)
"""Words that end an object's name when they follow its noun."""

RELATIVES = _phrases(
    "that is | that are | which is | which are | that's | that lies | which lies | that stands | that is not "
    "| that are not | which is not | which are not | that isn't | that aren't | which isn't | not"
)
PARTICIPLES = _words("lying placed located standing sitting resting laying situated hanging positioned")
"""Links between an object and where it is: "the block that is on the table", "the block lying in the drawer"."""

# --- prepositions, by whether the phrase describes the object before it or names another object

ON_TOP = _phrases("on top of | on the top of | onto the top of | to the top of | atop of | atop")
"""The phrase names the top of an object, as LIBERO's names do: "top of the cabinet"."""

TOWARD = _phrases(
    "into | onto | to | toward | towards | unto | out of | off of | away from | back to | closer to | nearer to"
)
"""Another object always follows: a goal or a source."""

SURFACE = _phrases("in | on | inside | inside of | within | under | underneath | below | beneath | upon")
"""Where an object is, or where it is put; the verb and the order decide."""

BESIDE = _phrases(
    "left of | right of | next to | close to | near to | near | beside | besides | by | between | in between | "
    "behind | in front of | in the front of | in back of | above | over | around | against | at | across from | "
    "opposite | opposite of | adjacent to | across | along | through | among | past | beyond | outside | outside of"
)

SOURCE = ("from", "off")
AWAY = ("from", "off", "out of", "off of", "away from")
"""Prepositions whose object is what something is taken from."""
SUPERLATIVES = _words("closest nearest furthest farthest")
"""Before a noun ("the closest cup to the plate") and after it ("the cup nearest the plate")."""
INSTRUMENT = ("with", "using", "by using", "with the help of")
PURPOSE = ("for",)
"""The phrase is left out ("the ball for the dog"), except after a verb without an object ("reach for the ball")."""
DESCRIBING = _phrases(
    "closest to | nearest to | furthest from | farthest from | further from | farther from "
    "| most distant from | furthest away from | farthest away from | facing | containing | without | full of "
    "| filled with | made of | belonging to | labeled | labelled | marked"
)
"""The phrase always describes the object before it."""

_SIDE_NOUNS = _phrases(
    "left | right | front | back | rear | top | bottom | middle | center | centre | far | near "
    "| top left | top right | bottom left | bottom right"
)
_PARTS = ("", " side", " edge", " corner", " part", " end", " hand side")


def _side_phrases(prepositions: str) -> frozenset[str]:
    """ "to the left side of", and so on for every preposition, side and part."""
    sides = [f"{side}{part}" for side in _SIDE_NOUNS for part in _PARTS] + ["side", "edge"]
    return frozenset(
        f"{preposition} {article}{side} of"
        for preposition in prepositions.split()
        for article in ("the ", "")
        for side in sides
    ) - frozenset(ON_TOP)


SIDE_TOWARD = _side_phrases("to toward towards")
SIDE_BESIDE = _side_phrases("on at in near by")
"""Positions beside an object: "on the left of the plate" is about the plate."""

PREPOSITIONS: dict[str, str] = (
    dict.fromkeys(SIDE_BESIDE, "beside")
    | dict.fromkeys(SIDE_TOWARD, "side")
    | dict.fromkeys(BESIDE, "beside")
    | dict.fromkeys(SURFACE, "surface")
    | dict.fromkeys(TOWARD, "toward")
    | dict.fromkeys(SOURCE, "source")
    | dict.fromkeys(INSTRUMENT, "instrument")
    | dict.fromkeys(ON_TOP, "top")
    | dict.fromkeys(PURPOSE, "purpose")
    | dict.fromkeys(DESCRIBING, "describing")
    | dict.fromkeys(SUPERLATIVES, "describing")
)
LONGEST_PREPOSITION = max(len(p.split()) for p in PREPOSITIONS)

# --- verbs, by the prepositional phrases that they take

PLACING = _words(
    "put place set lay drop move push slide stack insert bring hang pour deposit transfer store return shift stick "
    "throw toss sweep drag carry relocate position arrange rest leave pile dump stow load nest fit add pack plug "
    "release screw tuck squeeze sprinkle deliver hand give send lean align roll knock shove nudge spread pass "
    "toast cook attach connect fasten mount assemble hook slot plunge dunk dispose discard reposition relocate "
    "scatter heap sink submerge line stuff organize organise gather collect"
)
"""The object is moved: the last prepositional phrase names the goal."""

TAKING = _words(
    "remove take pull unload empty extract withdraw drain unplug detach unstack separate disconnect unhook retrieve "
    "clear unpack peel scrape"
)
"""The object is moved: the prepositional phrase names the source."""

HOLDING = _words(
    "pick lift grasp grab hold catch get raise fetch reach touch press hit tap open close shut turn switch toggle "
    "twist rotate flip unlock lock start stop activate deactivate light dim point find locate look approach go use "
    "wipe clean wash dry cover uncover cut stir mix fold unfold unfurl straighten scoop shake spin squash collapse "
    "uncap cap tilt fill build make unscrew unzip zip slice chop scrub dust brush crush rinse erase polish mop "
    "vacuum soak sanitize disinfect tidy tie untie bend water feed select choose swap poke pinch tip invert secure "
    "play ring tear wrap unwrap sort topple strike navigate dip swipe wait repeat retreat retract hover finish "
    "continue type flatten crack exchange replace create draw form construct prepare stay adjust inspect check "
    "unfasten loosen tighten operate draw write grip clasp"
)
"""The object is acted on: prepositional phrases describe it ("pick up the bowl on the plate")."""

TOOL_VERBS = _words(
    "wipe clean wash dry cover sweep fill stir hit cut scrub dust brush push wrap feed mix erase rinse polish mop "
    "slice chop scrape scoop poke prod tap press load stuff pack swap exchange replace"
)
"""After these verbs, "with …" names a tool, another object."""
FLUIDS = _words("water soap detergent")
"""After "with" they are no objects: "rinse the cup with water"."""
TOOLS = _words(
    "spatula tongs chopsticks tweezers ladle sponge eraser rag broom squeegee screwdriver wrench pliers"
)
SWAPPING = _words("swap exchange replace")
"""After these verbs, "with …" names an object that is carried too: "swap the cup with the bowl"."""
MAKING = _words("make build create draw write type form construct prepare")
"""What these verbs name is there only afterwards, so it cannot be asked about."""
PLACE_NOUNS = _words("position positions place places location locations order pose")
"""Left out before "of": "swap the positions of the cup and the bowl"."""
GRIP_PARTS = _words("handle handles rim edge edges neck stem corner corners side sides end lid tail body")
"""After "by" they say where an object is gripped: "lift the pot by its handles"."""
CONTROLS = _words("switch button lever knob handle dial slider remote")
"""After "use" they are operated themselves; other objects are tools."""
FILLING = _words("cover fill feed wrap load stuff pack")
"""After these verbs, "with …" names what is brought: "cover the pot with the lid"."""
CLEARING = _words("clear tidy unload unpack")
"""After these verbs, the object alone is what things are taken from: "clear the table"."""
TOUCHING = _words(
    "open close shut turn switch toggle press push hit tap touch pull slide twist rotate flip unlock lock start stop "
    "activate deactivate light dim wipe poke approach reach point look find locate navigate go wash clean scrub dust "
    "erase polish mop inspect check operate water type cut slice chop"
)
"""Verbs that need no grasp."""
PUSHING = _words("close shut push slide")
"""Of these, verbs that move the object in front of the end effector."""
ALSO_NOUNS = _words(
    "brush cap cover ring light lock tie toast pack plug screw stack pile hook mop slot sink cut can book rag drain "
    "sponge tape swab nail hand"
)
"""Verbs that are nouns where a preposition follows and no other verb stands in the sentence: "brush in cup"."""

VERBS: dict[str, str] = (
    dict.fromkeys(HOLDING, "holding") | dict.fromkeys(TAKING, "taking") | dict.fromkeys(PLACING, "placing")
)

IRREGULAR = {
    "took": "take", "brought": "bring", "threw": "throw", "hung": "hang", "held": "hold", "caught": "catch",
    "got": "get", "gave": "give", "left": "leave", "laid": "lay", "stuck": "stick", "spun": "spin", "shook": "shake",
    "sent": "send", "swept": "sweep", "lit": "light", "made": "make", "built": "build", "putting": "put",
    "went": "go", "hid": "hide", "found": "find", "fed": "feed", "stood": "stand", "dug": "dig", "tore": "tear",
}  # fmt: skip

_PARTICLES_OF: dict[str, str] = {
    "turn switch flip": "on off over around up down upright",
    "pick take lift get grab": "up out off down away back",
    "put set lay place bring": "down away back up together",
    "pull push slide move drag roll raise hold": "open closed close shut down up out away back forward left right",
    "fold pour clean wipe stack pile knock tip cover cut empty clear go tear throw reach hand screw close open wrap "
    "sweep start light tidy": "up out off down over open",
    "reach look search go": "for at",
    "plug push tuck": "in",
    "line": "up",
    "wait": "for",
}
PARTICLES: dict[str, frozenset[str]] = {
    verb: frozenset().union(*(_words(p) for verbs, p in _PARTICLES_OF.items() if verb in verbs.split()))
    for verb in " ".join(_PARTICLES_OF).split()
}
"""Particles that belong to a verb if an object follows: "turn on the stove", "pick up the cup"."""
