"""Sentences for the demo corpus, written for this project: everyday, phonetically varied, 9 to 14 words each.

The first of each list are for training; the last ones (`HELD_OUT` says how many) only for validation
and test, one half each.
"""

HELD_OUT = {"en": 10, "other": 4}

ENGLISH = (
    "The old boat drifted past the mill while three children waved from the bridge.",
    "A brown goose chased the postman halfway down our muddy garden path.",
    "Fresh bread and cold milk were waiting on the kitchen shelf this morning.",
    "She fixed the broken clock with a bent spoon and a lot of patience.",
    "Thick fog hid the harbour, yet the fishing crew set out before dawn.",
    "Please measure the vase twice before you choose a box to ship it.",
    "Young goats jump over the ditch whenever the farmer shuts the gate.",
    "My uncle plays the violin each Thursday in a tiny village church.",
    "Hot ginger tea soothes a rough throat better than any sweet pill.",
    "The judge gave both brothers a choice between paying and painting the fence.",
    "We watched the yellow kite vanish behind a huge wall of grey cloud.",
    "Five loud parrots argued about nothing under the cafe's striped awning.",
    "Push the heavy crate along the wharf until you reach the blue shed.",
    "Few visitors noticed that the museum's oldest treasure was a plain wooden cup.",
    "Her cousin thought the puzzle was easy, but he lost the final piece.",
    "The engine coughed, shook, and went quiet just as the rain began.",
    "Wash the plums, crush the garlic, and leave both in a shallow dish.",
    "A polite stranger offered us directions to the nearest railway station.",
    "Those smooth grey stones were carried here by ice a long age ago.",
    "You should hear how the wind hums through these hollow metal pipes.",
    "The baker's youngest daughter measures flour as if it were gold dust.",
    "Nobody believed the forecast, so everyone arrived at the beach without a coat.",
    "Bright orange leaves blew across the yard and gathered by the cellar door.",
    "He joined the choir to sing bass, though his voice was rather thin.",
    "The pilot checked each gauge and then pushed the throttle slowly forward.",
    "Our neighbours share a ladder, a wheelbarrow, and one very noisy dog.",
    "Such a small mouse should not be able to lift that cheese.",
    "Beyond the vineyard there is a pond where herons stand at dusk.",
    "It takes a full hour to boil enough soup for the whole team.",
    "The shy giraffe bent down and stole an apple from the boy's pocket.",
    "Beneath the staircase we found a jar of buttons and a faded map.",
    "The choir paused when a thrush began to sing outside the window.",
    "Five brave swimmers crossed the chilly lake before the bell rang noon.",
    "Put the green chairs in a ring and let the youngest guest begin.",
    "A rusty weather vane squeaked above the barn throughout the night.",
    "The juggler dropped one torch, laughed, and carried on with the other two.",
    "Most of the cherries were sour, but the birds enjoyed them anyway.",
    "Which path goes round the marsh, and which one leads to the forge?",
    "Their faithful horse refused to leave the shade of the oak.",
    "We owe the shopkeeper for two pounds of rice and a new broom.",
)

GERMAN = (
    "Der alte Kapitän erzählt jeden Abend eine andere Geschichte vom großen Sturm.",
    "Zwischen den Bäumen am Ufer hängt noch die Wäsche unserer Nachbarin.",
    "Frische Brötchen und starker Kaffee machen den frühen Morgen erträglich.",
    "Das Mädchen zeichnet ein Pferd, obwohl draußen längst die Sonne scheint.",
    "Wir haben den Schlüssel gestern unter dem blauen Blumentopf versteckt.",
    "Ein junger Fuchs läuft lautlos über das verschneite Feld nach Hause.",
    "Bitte schließen Sie das Fenster, bevor der Regen die Bücher erreicht.",
    "Im Hof spielen fünf Kinder mit einem viel zu großen Ball.",
    "Am Bahnhof wartete nur noch ein müder Musiker mit seiner Geige.",
    "Die Köchin schneidet Zwiebeln und summt dabei ein fröhliches Lied.",
)

FRENCH = (
    "Le vieux pêcheur répare son filet pendant que la mer se retire.",
    "Une petite fille compte les bateaux depuis la fenêtre de sa chambre.",
    "Nous avons oublié le pain chaud sur la table du jardin.",
    "Chaque jeudi, le boulanger offre un gâteau au premier client.",
    "Un chien brun traverse la rue sans regarder les voitures.",
    "Il faut choisir entre la route du lac et le chemin des vignes.",
    "Ma tante joue du piano quand la pluie tombe sur le toit.",
    "Les feuilles jaunes couvrent peu à peu le vieux mur de pierre.",
    "Le train de nuit s'arrête parfois devant une gare sans lumière.",
    "Quelqu'un a laissé un chapeau rouge au bord de la fontaine.",
)

SPANISH = (
    "El viejo relojero guarda una llave pequeña dentro del cajón de madera.",
    "Los niños corrían por la playa mientras el sol se escondía despacio.",
    "Mañana iremos al mercado a comprar queso, uvas y un poco de jamón.",
    "La lluvia golpeaba las ventanas y nadie quería salir de la cocina.",
    "Un gato gris duerme sobre la silla que está junto al fuego.",
    "Mi hermana pinta barcos azules en las paredes de su habitación.",
    "Hay que cerrar bien la puerta para que no entre el viento.",
    "El maestro escribió una pregunta difícil y luego guardó silencio.",
    "Desde la torre se ven los campos de trigo y el río.",
    "Alguien tocaba la guitarra en la plaza cuando llegó el tren.",
)

ITALIAN = (
    "Il vecchio fabbro chiude la bottega quando suonano le campane.",
    "Una barca gialla aspetta vicino al ponte da tutta la mattina.",
    "Mia nonna prepara gli gnocchi con una ricetta scritta a mano.",
    "I ragazzi cercano conchiglie mentre il mare diventa più scuro.",
    "Abbiamo lasciato le chiavi sul tavolo accanto alla finestra.",
    "Un cane bianco segue il postino lungo la strada del paese.",
    "Ogni giovedì il maestro porta una mela per il suo cavallo.",
    "La pioggia leggera bagna i fiori davanti alla vecchia scuola.",
    "Qualcuno ha dipinto una luna azzurra sul muro del cortile.",
    "Dopo cena ascoltiamo la radio e beviamo un bicchiere di vino.",
)

PORTUGUESE = (
    "O velho pescador conta histórias enquanto conserta a rede na praia.",
    "Uma menina desenha passarinhos na janela molhada do ônibus.",
    "Compramos pão quente e queijo fresco na padaria da esquina.",
    "O vento derrubou as laranjas maduras no quintal do vizinho.",
    "Ninguém percebeu que o relógio da igreja estava parado.",
    "Meu irmão toca violão debaixo da árvore quando não chove.",
    "As crianças correm atrás da bola até o fim da rua.",
    "É preciso fechar o portão antes que o cachorro fuja.",
    "Amanhã cedo vamos atravessar o rio com o barco vermelho.",
    "A chuva fina deixou o caminho da fazenda cheio de lama.",
)

POLISH = (
    "Stary młynarz codziennie rano karmi gołębie obok drewnianego mostu.",
    "Dziewczynka schowała czerwony parasol za drzwiami szkolnej szatni.",
    "Na stole leży świeży chleb, trochę sera i słoik miodu.",
    "Pociąg zatrzymał się w lesie, a pasażerowie czekali w ciszy.",
    "Mój brat gra na skrzypcach, kiedy za oknem pada deszcz.",
    "Żółte liście powoli przykrywają ścieżkę prowadzącą do jeziora.",
    "Proszę zamknąć okno, zanim wiatr porwie wszystkie notatki.",
    "Czarny kot śpi na krześle w pobliżu ciepłego pieca.",
    "Wieczorem sąsiedzi śpiewają na ławce pod starym dębem.",
    "Ktoś zostawił klucze i kapelusz na brzegu rzeki.",
)

SWEDISH = (
    "Den gamla fiskaren lagar sitt nät medan solen sjunker bakom ön.",
    "En liten flicka räknar båtarna från fönstret på andra våningen.",
    "Vi glömde det varma brödet på bordet ute i trädgården.",
    "Min farbror spelar fiol varje torsdag i den röda stugan.",
    "Hunden sprang över ängen och försvann bland de höga björkarna.",
    "Stäng dörren ordentligt innan vinden blåser ut alla ljusen.",
    "Gula löv täcker sakta stigen som leder ner till sjön.",
    "Någon har ställt en blå cykel framför bageriet.",
    "I morgon ska vi köpa ost, äpplen och lite kaffe.",
    "Barnen sjunger högt när tåget kör genom den mörka tunneln.",
)

DUTCH = (
    "De oude schipper vertelt graag over de storm van vorig jaar.",
    "Een klein meisje telt de fietsen voor het raam van de bakker.",
    "Wij hebben het warme brood op de tafel in de tuin laten liggen.",
    "Mijn buurman speelt elke donderdag viool in een leeg schuurtje.",
    "De hond rende door het natte gras naar de brug.",
    "Doe de deur goed dicht voordat de wind het licht uitblaast.",
    "Gele bladeren vallen langzaam op het pad langs de gracht.",
    "Iemand heeft een blauwe jas bij de molen achtergelaten.",
    "Morgen kopen we kaas, uien en een beetje verse vis.",
    "De kinderen zingen luid terwijl de trein het station uitrijdt.",
)

RUSSIAN = (
    "Старый мельник каждое утро кормит голубей у деревянного моста.",
    "Девочка спрятала красный зонт за дверью школьной библиотеки.",
    "На столе лежит свежий хлеб, кусок сыра и банка мёда.",
    "Поезд остановился в лесу, и пассажиры молча смотрели в окна.",
    "Мой брат играет на скрипке, когда за окном идёт дождь.",
    "Жёлтые листья медленно падают на дорожку около озера.",
    "Пожалуйста, закройте окно, пока ветер не унёс бумаги.",
    "Чёрная кошка спит на стуле возле тёплой печки.",
    "Вечером соседи поют песни на скамейке под большим дубом.",
    "Кто-то оставил ключи и шляпу на берегу реки.",
)

MANDARIN = (
    "老船长每天晚上都给孩子们讲海上的故事。",
    "桌子上有新鲜的面包、一块奶酪和一杯热茶。",
    "小女孩把红色的雨伞放在学校门口的椅子旁边。",
    "我的哥哥喜欢在下雨的时候坐在窗前拉小提琴。",
    "黄色的树叶慢慢地落在湖边的小路上。",
    "请在刮风以前把所有的窗户都关好。",
    "一只黑猫在温暖的炉子旁边睡了一个下午。",
    "火车在森林里停了很久，大家都安静地等着。",
    "明天早上我们要去市场买苹果、鱼和一点儿米。",
    "有人把钥匙和帽子忘在了河边的石头上。",
)

# espeak-ng's voice name of each accent, and its sentences.
TEXTS: dict[str, tuple[str, ...]] = {
    "en-us": ENGLISH,
    "en-gb-x-rp": ENGLISH,
    "en-gb-scotland": ENGLISH,
    "de": GERMAN,
    "fr": FRENCH,
    "es": SPANISH,
    "it": ITALIAN,
    "pt-br": PORTUGUESE,
    "pl": POLISH,
    "sv": SWEDISH,
    "nl": DUTCH,
    "ru": RUSSIAN,
    "cmn": MANDARIN,
}
