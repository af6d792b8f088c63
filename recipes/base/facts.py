"""What the generated facts say: sentences over a few fields, names of the fields, questions.

The sentences are fairy-tale ones; none is among the phrasings of the demo's tasks.
"""

KEYS: dict[str, list[str]] = {
    "name": ["name", "who", "person", "hero", "called", "first"],
    "friend": ["friend", "with", "other", "second", "partner"],
    "place": ["place", "town", "home", "city", "land", "where", "from"],
    "age": ["age", "years", "old", "number"],
    "coins": ["coins", "price", "gold", "cost", "pay"],
    "miles": ["miles", "way", "distance", "far"],
    "thing": ["thing", "item", "gift", "what", "object"],
    "beast": ["beast", "animal", "pet", "mount"],
    "job": ["job", "work", "trade", "role"],
    "color": ["color", "paint", "hue", "look"],
}

QUESTIONS: dict[str, list[str]] = {
    "name": ["Who is it?", "What is the name?", "Who?"],
    "friend": ["Who else?", "And who is the other?", "With whom?"],
    "place": ["Where?", "Which place is it?", "Where was that?"],
    "age": ["How old?", "What age?", "How many years?"],
    "coins": ["How many coins?", "What did it cost?", "How much?"],
    "miles": ["How far?", "How many miles?"],
    "thing": ["What thing?", "What was it?", "Which thing?"],
    "beast": ["Which beast?", "What animal?"],
    "job": ["What work?", "Which trade?"],
    "color": ["What color?", "Which color was it?"],
}

GROUPS: list[tuple[tuple[str, ...], list[str]]] = [
    (
        ("name", "age", "place"),
        [
            "{name} had reigned in {place} for {age} years.",
            "For {age} years {name} slept in the castle of {place}.",
            "In {place} there was once a giant named {name}, who had {age} heads.",
            "They buried {name} at {place} after {age} winters.",
            "At {age}, {name} left {place} to see the world.",
            "{place} remembers {name}; that was {age} years ago.",
            "The witch of {place} has {age} cats, and her name is {name}.",
            "{age} soldiers guard {name} at {place}.",
            "Once upon a time {name} of {place} had {age} sons.",
            "King {name} sailed to {place} with {age} ships.",
            "After {age} days on the road {name} saw the towers of {place}.",
            "No one in {place} is as clever as {name}, and {name} is but {age}.",
            "When {name} turned {age}, all {place} danced.",
            "The bells of {place} rang {age} times for {name}.",
            "'{name},' they said in {place}, 'you must wait {age} years.'",
            "{name} owns {age} mills near {place}.",
        ],
    ),
    (
        ("name", "thing", "coins"),
        [
            "{name} bought a {thing} for {coins} coins.",
            "For {coins} coins the old man sold {name} his {thing}.",
            "The {thing} cost {name} {coins} pieces of gold.",
            "{coins} coins were hidden in the {thing} of {name}.",
            "{name} gave away the {thing} and got {coins} coins for it.",
            "A {thing}! {name} would pay {coins} for it.",
            "'{coins} for my {thing}!' cried {name}.",
            "Whoever brings {name} the {thing} shall have {coins} coins.",
            "{name} owes {coins} coins for one {thing}.",
            "It was a fine {thing}, worth {coins}, and it belonged to {name}.",
        ],
    ),
    (
        ("name", "friend", "place"),
        [
            "{name} met {friend} on the way to {place}.",
            "{name} and {friend} were married at {place}.",
            "Near {place} {name} fought with {friend}.",
            "{friend} followed {name} all the way from {place}.",
            "In {place}, {name} had a brother called {friend}.",
            "{name} wrote to {friend} from {place}.",
            "'Come to {place},' said {name} to {friend}.",
            "Only {friend} knew that {name} was hidden in {place}.",
            "{place} was taken by {name}, and {friend} fled.",
            "The daughter of {name} of {place} was {friend}.",
        ],
    ),
    (
        ("name", "beast", "miles"),
        [
            "{name} rode a {beast} for {miles} miles.",
            "The {beast} ran {miles} miles, and {name} ran after it.",
            "{miles} miles from here {name} keeps a {beast}.",
            "On the back of a {beast} {name} flew {miles} miles.",
            "{name} heard the {beast} from {miles} miles away.",
            "A {beast} carried {name} over {miles} miles of sea.",
            "'It is {miles} miles,' said the {beast} to {name}.",
        ],
    ),
    (
        ("name", "job", "place"),
        [
            "{name} was the {job} of {place}.",
            "In {place} they made {name} a {job}.",
            "The {job} {name} went home to {place}.",
            "{place} had but one {job}, and that was {name}.",
            "{name} learned to be a {job} at {place}.",
            "From {place} came a {job} whose name was {name}.",
            "'I am {name}, {job} of {place},' he said.",
            "Ask for {name} the {job} when you get to {place}.",
        ],
    ),
    (
        ("thing", "place", "color"),
        [
            "The {thing} of {place} was {color}.",
            "In {place} every {thing} is {color}.",
            "They painted the {thing} {color} and took it to {place}.",
            "A {color} {thing} was found near {place}.",
            "Under the {color} stone in {place} lies a {thing}.",
            "{place} is known for its {color} {thing}.",
        ],
    ),
    (
        ("thing", "name", "friend"),
        [
            "{name} gave {friend} a {thing}.",
            "{friend} got the {thing} from {name}.",
            "The {thing} went from {name} to {friend}.",
            "{name} stole the {thing} of {friend}.",
            "'Where is my {thing}, {friend}?' asked {name}.",
            "It was {name} who broke the {thing}, not {friend}.",
            "{friend}, take this {thing} to {name}.",
        ],
    ),
    (
        ("name", "age", "job", "place"),
        [
            "{name}, a {job} in {place}, has served for {age} years.",
            "For {age} years the {job} of {place} was {name}.",
            "{place} paid its {job} {name} {age} coins.",
            "After {age} years as a {job}, {name} came back to {place}.",
            "At {place} {name} the {job} caught {age} fish.",
            "{age} times {name} went to {place} to ask the {job}.",
        ],
    ),
    (
        ("name", "age"),
        [
            "{name} waited {age} years.",
            "{name} has {age} sheep.",
            "{age} bears came to see {name}.",
            "They asked {name} {age} riddles.",
            "{name}, you are number {age}.",
            "On day {age} {name} woke up.",
        ],
    ),
    (
        ("name", "place"),
        [
            "{name} is from {place}.",
            "{place} is where {name} went.",
            "The road to {place} belongs to {name}.",
            "{name} never saw {place} again.",
            "Far from {place} sat {name}.",
            "In {place} they laugh at {name}.",
        ],
    ),
]
